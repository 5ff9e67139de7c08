"""``tflite-ptq debug``."""

from __future__ import annotations

from pathlib import Path

import click


@click.command("debug", short_help="Rank the layers of an int8 variant by the error they bring.")
@click.argument("recipe", type=click.Path(path_type=Path))
@click.option("--variant", metavar="NAME", help="Which int8 variant; default: the recipe's first.")
@click.option("--set", "overrides", multiple=True, metavar="KEY.PATH=VALUE", help="Override a key of the recipe.")
@click.option("--output", type=click.Path(path_type=Path), metavar="DIR", help="Default: debug/ in the run's folder.")
@click.option("--samples", type=click.IntRange(1), default=64, show_default=True, help="Samples to compare on.")
@click.option(
    "--layers",
    type=click.IntRange(1),
    default=100,
    show_default=True,
    help="Try at most so many, most suspicious first.",
)
@click.option("--json", "as_json", is_flag=True, help="Print debug.json on the standard output.")
@click.option("-q", "--quiet", is_flag=True, help="Print nothing but errors.")
def debug_command(
    recipe: Path,
    variant: str | None,
    overrides: tuple[str, ...],
    output: Path | None,
    samples: int,
    layers: int,
    as_json: bool,
    quiet: bool,
) -> None:
    """Rank the layers of an int8 variant of RECIPE by the error they bring, and say what to do about it.

    Writes debug.json and node data that Model Explorer opens over the graph. Where the run's folder holds a report,
    `tflite-ptq report` then puts the layers on its report.html.

    \b
    Examples:
      tflite-ptq debug recipe.yaml
      tflite-ptq debug recipe.yaml --variant int8-uint8 --samples 200
      tflite-ptq debug recipe.yaml --set dataset.calibration.method=mse --json
    """
    from tflite_ptq.cli.outcome import from_here
    from tflite_ptq.cli.progress import TerminalProgress
    from tflite_ptq.debugging import Options, debug
    from tflite_ptq.recipe.loader import load

    options = Options(variant=variant, output=output, samples=samples, layers=layers)
    with TerminalProgress(quiet=quiet or as_json) as progress:
        report, folder, names = debug(load(recipe, overrides), options, progress)
    if as_json:
        click.echo(report.model_dump_json(indent=2))
    elif not quiet:
        from tflite_ptq.cli.printing import printing
        from tflite_ptq.report.debug_tables import render

        with printing() as console:
            render(report, console, from_here(folder), names)
