"""Two reports to one comparison. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from tflite_ptq.errors import UsageError
from tflite_ptq.recipe.schema import FLOAT32
from tflite_ptq.report.compare import differences
from tflite_ptq.report.compare.figures import figures, variants_of
from tflite_ptq.report.compare.limits import Limits, judge
from tflite_ptq.report.compare.result import Comparison, Difference, Side
from tflite_ptq.result import Report, VariantResult


def compare(
    baseline: tuple[str, Report],
    candidate: tuple[str, Report],
    limits: Limits,
    *,
    only: Sequence[str] = (),
    allow_other_machine: bool = False,
) -> Comparison:
    """``candidate`` against ``baseline``, each with the name that its run is to be shown by.

    Limits are not held against float32, the yardstick that nobody ships, unless ``only`` names it.

    Raises:
        UsageError: a limit on latency and the runs are of different machines; a limit without a figure in the
            baseline; ``only`` names what neither run has.
    """
    (_, ours), (_, theirs) = baseline, candidate
    names = _chosen(ours, theirs, only)
    machine = differences.other_machine(ours, theirs)
    timed = allow_other_machine or not machine
    if limits.max_slowdown is not None and not timed:
        raise UsageError(
            f"--max-slowdown {limits.max_slowdown:g}: the runs are of different machines ("
            f"{differences.in_words(machine)}); measure the baseline again on this one, or compare all the same with "
            "--allow-other-machine"
        )
    found = tuple(figures(ours, theirs, names, timed=timed))
    judged = [figure for figure in found if figure.variant != FLOAT32 or FLOAT32 in only]
    checks = judge(judged, limits)
    mine, other = variants_of(ours), variants_of(theirs)
    return Comparison(
        baseline=_side(*baseline),
        candidate=_side(*candidate),
        status="passed" if all(check.passed for check in checks) else "failed",
        differences=tuple(differences.differences(ours, theirs)),
        figures=found,
        missing=tuple(name for name in names if name not in other),
        new=tuple(name for name in names if name not in mine),
        identical=tuple(name for name in names if name in mine and name in other and _same(mine[name], other[name])),
        limits=checks,
        warnings=(
            *_on_machines(ours, theirs, machine, timed=timed),
            *differences.warnings(ours, theirs, names),
        ),
    )


def _chosen(baseline: Report, candidate: Report, only: Sequence[str]) -> tuple[str, ...]:
    names = tuple(dict.fromkeys((*variants_of(baseline), *variants_of(candidate))))
    for name in only:
        if name not in names:
            raise UsageError(f"--only {name}: neither run has such a variant ({', '.join(names)})")
    return tuple(name for name in names if not only or name in only)


def _side(run: str, report: Report) -> Side:
    return Side(run=run, recipe=report.recipe.name, status=report.status, tool=report.environment.tool)


def _same(a: VariantResult, b: VariantResult) -> bool:
    return a.sha256 is not None and a.sha256 == b.sha256


def _on_machines(baseline: Report, candidate: Report, machine: tuple[Difference, ...], *, timed: bool) -> Iterator[str]:
    latencies = any(variant.latency for report in (baseline, candidate) for variant in report.variants)
    if not machine or not latencies:
        return
    different = f"the runs are of different machines ({differences.in_words(machine)})"
    if timed:
        yield f"{different}: a change of latency may be the machine's"
    else:
        yield f"latencies are left out: {different}; --allow-other-machine compares them all the same"
