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
@click.option(
    "--no-cache",
    is_flag=True,
    envvar="TFLITE_PTQ_NO_CACHE",
    help="Do every step anew, and keep nothing for later runs.",
)
@click.option(
    "--cache-dir",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Where results are kept for later runs; default: TFLITE_PTQ_CACHE, or the platform's cache folder.",
)
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
    no_cache: bool,
    cache_dir: Path | None,
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
    from tflite_ptq.worker.spawning import RUNTIME, early

    with early(RUNTIME) as runtime:  # it imports while this process does
        from tflite_ptq.cache.place import place
        from tflite_ptq.cli.outcome import Manner, run_and_show
        from tflite_ptq.pipeline import Options
        from tflite_ptq.recipe.loader import load

        cache = None if no_cache else place(cache_dir)
        options = Options(only=only, benchmark=not no_benchmark, output=output, cache=cache)
        code = run_and_show(load(recipe, overrides), options, Manner(as_json, verbose, quiet), runtime)
    ctx.exit(code)
