"""``tflite-ptq convert``."""

from __future__ import annotations

from pathlib import Path

import click


@click.command("convert", short_help="Convert, audit, measure, gate and report, as a recipe says.")
@click.argument("recipe", type=click.Path(path_type=Path))
@click.option("--only", multiple=True, metavar="NAME", help="Make only this variant (and float32); may be repeated.")
@click.option("--no-benchmark", is_flag=True, help="Convert and audit; measure neither accuracy nor latency.")
@click.option("--set", "overrides", multiple=True, metavar="KEY.PATH=VALUE", help="Override a key of the recipe.")
@click.option("--output", type=click.Path(path_type=Path), metavar="DIR", help="Where the results go.")
@click.option("--json", "as_json", is_flag=True, help="Print report.json on the standard output.")
@click.option("-v", "--verbose", is_flag=True, help="Show what TensorFlow and LiteRT said.")
@click.option("-q", "--quiet", is_flag=True, help="Print nothing but errors.")
@click.pass_context
def convert_command(
    ctx: click.Context,
    recipe: Path,
    only: tuple[str, ...],
    no_benchmark: bool,
    overrides: tuple[str, ...],
    output: Path | None,
    as_json: bool,
    verbose: bool,
    quiet: bool,
) -> None:
    """Convert, audit, measure, gate and report, as RECIPE says.

    \b
    Examples:
      tflite-ptq convert recipe.yaml
      tflite-ptq convert recipe.yaml --only int8 --no-benchmark
      tflite-ptq convert recipe.yaml --set dataset.calibration.samples=500 --output out/500
      tflite-ptq convert recipe.yaml --json -q > report.json
    """
    from tflite_ptq import pipeline
    from tflite_ptq.cli.progress import TerminalProgress
    from tflite_ptq.recipe.loader import load
    from tflite_ptq.report.gate import exit_code

    loaded = load(recipe, overrides)
    options = pipeline.Options(only=only, benchmark=not no_benchmark, output=output)
    try:
        with TerminalProgress(quiet=quiet or as_json) as progress:
            report, folder = pipeline.run(loaded, options, progress)
    finally:
        if verbose:
            _show_log(pipeline.output_folder(loaded, options) / "log.txt")
    if as_json:
        click.echo(report.model_dump_json(indent=2))
    elif not quiet:
        from rich.console import Console

        from tflite_ptq.report.console import render

        render(report, Console(), str(folder))
    for error in report.errors if quiet or as_json else ():
        click.echo(f"error: {error}", err=True)
    ctx.exit(exit_code(report.status))


def _show_log(log: Path) -> None:
    if log.is_file():
        click.echo(log.read_text(encoding="utf-8", errors="replace"), err=True)
