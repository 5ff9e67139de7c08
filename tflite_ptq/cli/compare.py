"""``tflite-ptq compare``: two runs side by side."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from tflite_ptq.errors import EXIT_GATE

if TYPE_CHECKING:
    from tflite_ptq.report.compare.result import Comparison


def _positive(ctx: click.Context, param: click.Parameter, value: float | None) -> float | None:
    if value is not None and not (math.isfinite(value) and value > 0):
        raise click.BadParameter(f"{value:g} is not a number above 0", ctx, param)
    return value


@click.command("compare", short_help="Compare a run with a baseline.")
@click.argument("baseline", type=click.Path(path_type=Path))
@click.argument("run", type=click.Path(path_type=Path))
@click.option(
    "--max-drop",
    "drops",
    multiple=True,
    metavar="[METRIC=]X",
    help="A metric may be worse by X at most (0.01: one point of top1); the first metric where none is named.",
)
@click.option(
    "--max-size-ratio", type=float, callback=_positive, metavar="R", help="A file may be R times as large at most."
)
@click.option(
    "--max-slowdown", type=float, callback=_positive, metavar="R", help="A median may be R times as long at most."
)
@click.option("--only", multiple=True, metavar="NAME", help="Compare this variant only; may be repeated.")
@click.option("--allow-other-machine", is_flag=True, help="Compare latencies of different machines, with a warning.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option("--markdown", is_flag=True, help="Print Markdown, for a pull request's comment.")
@click.pass_context
def compare_command(
    ctx: click.Context,
    baseline: Path,
    run: Path,
    drops: tuple[str, ...],
    max_size_ratio: float | None,
    max_slowdown: float | None,
    only: tuple[str, ...],
    allow_other_machine: bool,
    as_json: bool,
    markdown: bool,
) -> None:
    """Put RUN beside BASELINE: size, accuracy, fidelity and latency of each variant, and what else differs.

    Both are folders that `convert` wrote, or their report.json. Limits hold for every variant but float32; what the
    baseline has and RUN lacks breaks them. Exit code 5 where one is broken. Latencies of different machines (CPU,
    cores, platform, LiteRT version) are left out unless told otherwise.

    \b
    Examples:
      tflite-ptq compare baseline out/kws
      tflite-ptq compare baseline/report.json out/kws --max-drop 0.005 --max-size-ratio 1.02
      tflite-ptq compare old new --only int8 --max-slowdown 1.1 --markdown > comment.md
    """
    from tflite_ptq.cli import ci
    from tflite_ptq.errors import UsageError
    from tflite_ptq.report import files
    from tflite_ptq.report.compare import compare
    from tflite_ptq.report.compare import markdown as as_markdown
    from tflite_ptq.report.compare.limits import Limits

    if as_json and markdown:
        raise UsageError("--json and --markdown: choose one")
    limits = Limits(dict(map(_drop, drops)), max_size_ratio, max_slowdown)
    sides = [(str(path), files.read_run(path)) for path in (baseline, run)]
    found = compare.compare(sides[0], sides[1], limits, only=only, allow_other_machine=allow_other_machine)
    _show(found, as_json=as_json, as_markdown=markdown)
    ci.publish_comparison(found.limits, as_markdown.render(found), os.environ)
    if found.status == "failed":
        ctx.exit(EXIT_GATE)


def _drop(text: str) -> tuple[str, float]:
    """``top1=0.01`` or ``0.01``: the metric (empty for the first one) and its limit. Raises ``UsageError``."""
    from tflite_ptq.errors import UsageError
    from tflite_ptq.report.compare.limits import FIRST_METRIC

    metric, equals, number = text.rpartition("=")
    try:
        limit = float(number)
    except ValueError:
        limit = math.nan
    if not math.isfinite(limit) or limit < 0 or (equals and not metric):
        raise UsageError(f"--max-drop {text}: expected a number of at least 0, or METRIC=NUMBER, such as top1=0.01")
    return metric or FIRST_METRIC, limit


def _show(found: Comparison, *, as_json: bool, as_markdown: bool) -> None:
    if as_json:
        click.echo(found.model_dump_json(indent=2))
    elif as_markdown:
        from tflite_ptq.report.compare import markdown

        click.echo(markdown.render(found), nl=False)
    else:
        from tflite_ptq.cli.printing import printing
        from tflite_ptq.report.compare.console import render

        with printing() as console:
            render(found, console)
