"""``tflite-ptq benchmark``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from tflite_ptq.errors import EXIT_FAILED


@click.command("benchmark", short_help="Measure .tflite files side by side.")
@click.argument("models", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="MODEL.tflite...")
@click.option("--recipe", type=click.Path(path_type=Path), help="Measure accuracy on this recipe's evaluation samples.")
@click.option("--set", "overrides", multiple=True, metavar="KEY.PATH=VALUE", help="Override a key of the recipe.")
@click.option(
    "--delegate",
    "delegates",
    multiple=True,
    metavar="cpu|xnnpack|compiled|LIBRARY",
    help="cpu, xnnpack, compiled (CompiledModel) or the shared library of an external delegate; may be repeated.",
)
@click.option("--delegate-option", "options", multiple=True, metavar="KEY=VALUE", help="For the external delegates.")
@click.option("--threads", multiple=True, type=click.IntRange(1), help="May be repeated; default 1.")
@click.option("--runs", type=click.IntRange(1), help="Inferences that are counted in each process (100).")
@click.option("--warmup", type=click.IntRange(0), help="At least so many first, until they are steady (10).")
@click.option("--precision", type=click.FloatRange(0, 1, min_open=True, max_open=True), help="Asked of medians (0.02).")
@click.option("--max-seconds", type=click.FloatRange(0, min_open=True), help="Per file, delegate and threads (5).")
@click.option("--raw", type=click.Path(path_type=Path), metavar="FILE", help="Keep every nanosecond, as JSON.")
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
    options: tuple[str, ...],
    threads: tuple[int, ...],
    runs: int | None,
    warmup: int | None,
    precision: float | None,
    max_seconds: float | None,
    raw: Path | None,
    no_latency: bool,
    as_json: bool,
    quiet: bool,
) -> None:
    """Measure size, latency by delegate and threads, and with --recipe accuracy, of .tflite files side by side.

    Changes and speedups are against the first file. Files, delegates and threads are timed in turn, each time in a
    fresh process, until the medians are known to --precision or --max-seconds are over. What the options leave open is
    as the recipe's benchmark.latency says.

    \b
    Examples:
      tflite-ptq benchmark old.tflite new.tflite
      tflite-ptq benchmark published.tflite out/kws/int8.tflite --recipe configs/kws.yaml
      tflite-ptq benchmark model.tflite --delegate xnnpack --threads 1 --threads 2 --json
      tflite-ptq benchmark model.tflite --delegate cpu --delegate ./libdelegate.so --delegate-option device=0
    """
    from tflite_ptq import atomic, benchmarking
    from tflite_ptq.cli.progress import TerminalProgress
    from tflite_ptq.errors import UsageError
    from tflite_ptq.recipe.latency import LatencySettings
    from tflite_ptq.recipe.loader import load
    from tflite_ptq.worker.scratch import scratch_folder

    if overrides and recipe is None:
        raise UsageError("--set changes a recipe; give one with --recipe")
    given = {
        "delegates": _delegates(delegates, options),
        "threads": threads,
        "runs": runs,
        "warmup": warmup,
        "precision": precision,
        "max_seconds": max_seconds,
    }
    asked = {key: value for key, value in given.items() if value not in (None, ())}
    loaded = load(recipe, overrides) if recipe else None
    written = loaded.recipe.benchmark.latency if loaded else LatencySettings()
    settings = None
    if not no_latency and (written is not None or asked):
        settings = LatencySettings.model_validate((written.model_dump() if written else {}) | asked)
    with scratch_folder() as folder, TerminalProgress(quiet=quiet or as_json) as progress:
        compared = benchmarking.benchmark(models, loaded, settings, folder, progress)
    if raw is not None and compared.timings is not None:
        atomic.write(raw, f"{compared.timings.model_dump_json()}\n".encode())
    if as_json:
        import json

        click.echo(json.dumps([result.model_dump(mode="json") for result in compared.files], indent=2))
        for warning in compared.warnings:
            click.echo(f"warning: {warning}", err=True)
    else:
        from tflite_ptq.cli.printing import printing
        from tflite_ptq.report.comparison import render_benchmark

        with printing() as console:
            render_benchmark(compared.files, console, compared.warnings)
    if any(result.error for result in compared.files):
        ctx.exit(EXIT_FAILED)


def _delegates(words: Sequence[str], options: Sequence[str]) -> tuple[object, ...]:
    """What ``--delegate`` and ``--delegate-option`` ask for, as a recipe would say it. Raises ``UsageError``."""
    from tflite_ptq.errors import UsageError
    from tflite_ptq.recipe.faults import nearest
    from tflite_ptq.recipe.latency import NAMES as names

    wrong = [option for option in options if "=" not in option.strip("=")]
    if wrong:
        raise UsageError(f"--delegate-option {wrong[0]}: expected KEY=VALUE, for example --delegate-option device=0")
    for word in words:
        if word not in names and "." not in word and "/" not in word:
            raise UsageError(
                f"--delegate {word}: neither a name nor a shared library{nearest(word, names)} "
                f"({', '.join(names)}, or a path such as ./libdelegate.so)"
            )
    if options and all(word in names for word in words):
        raise UsageError("--delegate-option is for external delegates; give one with --delegate LIBRARY")
    parsed = dict(option.split("=", 1) for option in options)
    return tuple(
        word
        if word in names
        else {"library": str(Path(word).absolute()) if Path(word).is_file() else word, "options": parsed}
        for word in dict.fromkeys(words)
    )
