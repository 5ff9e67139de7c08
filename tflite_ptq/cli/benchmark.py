"""``tflite-ptq benchmark``."""

from __future__ import annotations

from pathlib import Path

import click

from tflite_ptq.errors import EXIT_FAILED


@click.command("benchmark", short_help="Measure .tflite files side by side.")
@click.argument("models", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="MODEL.tflite...")
@click.option("--recipe", type=click.Path(path_type=Path), help="Measure accuracy on this recipe's evaluation samples.")
@click.option("--set", "overrides", multiple=True, metavar="KEY.PATH=VALUE", help="Override a key of the recipe.")
@click.option("--delegate", "delegates", multiple=True, type=click.Choice(["cpu", "xnnpack"]), help="May be repeated.")
@click.option("--threads", multiple=True, type=click.IntRange(1), help="May be repeated; default 1.")
@click.option("--runs", type=click.IntRange(1), help="Inferences that are counted (100).")
@click.option("--warmup", type=click.IntRange(0), help="Inferences thrown away first (10).")
@click.option("--no-latency", is_flag=True, help="Measure no latency.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option("-q", "--quiet", is_flag=True, help="Show no progress.")
@click.pass_context
def benchmark_command(
    ctx: click.Context,
    models: tuple[Path, ...],
    recipe: Path | None,
    overrides: tuple[str, ...],
    delegates: tuple[str, ...],
    threads: tuple[int, ...],
    runs: int | None,
    warmup: int | None,
    no_latency: bool,
    as_json: bool,
    quiet: bool,
) -> None:
    """Measure size, latency by delegate and threads, and with --recipe accuracy, of .tflite files side by side.

    Changes and speedups are against the first file.

    \b
    Examples:
      tflite-ptq benchmark old.tflite new.tflite
      tflite-ptq benchmark published.tflite out/kws/int8.tflite --recipe configs/kws.yaml
      tflite-ptq benchmark model.tflite --delegate xnnpack --threads 1 --threads 2 --json
    """
    from tflite_ptq import benchmarking
    from tflite_ptq.cli.progress import TerminalProgress
    from tflite_ptq.errors import UsageError
    from tflite_ptq.recipe.loader import load
    from tflite_ptq.recipe.schema import LatencySettings
    from tflite_ptq.worker.scratch import scratch_folder

    if overrides and recipe is None:
        raise UsageError("--set changes a recipe; give one with --recipe")
    given = {"delegates": delegates, "threads": threads, "runs": runs, "warmup": warmup}
    asked = {key: value for key, value in given.items() if value not in (None, ())}
    settings = None if no_latency else LatencySettings.model_validate(asked)
    loaded = load(recipe, overrides) if recipe else None
    with scratch_folder() as folder, TerminalProgress(quiet=quiet or as_json) as progress:
        results = benchmarking.benchmark(models, loaded, settings, folder, progress)
    if as_json:
        import json

        click.echo(json.dumps([result.model_dump(mode="json") for result in results], indent=2))
    else:
        from rich.console import Console

        from tflite_ptq.report.comparison import render_benchmark

        render_benchmark(results, Console())
    if any(result.error for result in results):
        ctx.exit(EXIT_FAILED)
