"""Limits on how much worse a candidate may be than its baseline, as gate checks. Pure.

A figure that the baseline has and the candidate lacks breaks its limit; one that only the candidate has is not judged.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from tflite_ptq.errors import UsageError
from tflite_ptq.report.compare.result import Figure
from tflite_ptq.result import GateCheck

FIRST_METRIC = ""
_SPARED = "float32, the yardstick, is held to no limit unless --only names it"


@dataclass(frozen=True)
class Limits:
    """``max_drop`` by metric, in the metric's unit (for errors a rise), ``FIRST_METRIC`` being the first one measured;
    ``max_size_ratio`` and ``max_slowdown`` are candidate over baseline."""

    max_drop: Mapping[str, float]
    max_size_ratio: float | None = None
    max_slowdown: float | None = None


def judge(figures: Sequence[Figure], limits: Limits) -> tuple[GateCheck, ...]:
    """One check a figure that a limit is on.

    Raises:
        UsageError: a limit is on a metric or a kind of figure that the baseline has not: it would hold for nothing.
    """
    known = [figure for figure in figures if figure.baseline is not None]
    checks: list[GateCheck] = []
    for metric, limit in limits.max_drop.items():
        checks += _drops(known, metric, limit)
    if limits.max_size_ratio is not None:
        checks += _ratios(known, "size", "--max-size-ratio", limits.max_size_ratio)
    if limits.max_slowdown is not None:
        checks += _ratios(known, "latency", "--max-slowdown", limits.max_slowdown)
    return tuple(checks)


def _drops(known: Sequence[Figure], metric: str, limit: float) -> Iterator[GateCheck]:
    measured = tuple(dict.fromkeys(figure.name for figure in known if figure.kind == "accuracy"))
    wanted = metric or next(iter(measured), FIRST_METRIC)
    if wanted not in measured:
        what = f"--max-drop {metric}={limit:g}" if metric else f"--max-drop {limit:g}"
        found = f"measured: {', '.join(measured)}" if measured else "no accuracy was measured"
        raise UsageError(f"{what}: the baseline has no such figure to hold the limit against ({found}); {_SPARED}")
    for figure in known:
        if figure.kind == "accuracy" and figure.name == wanted:
            # change < 0 is worse where higher is better, better where it is an error; a drop > 0 is always worse.
            sign = -1 if figure.higher_is_better else 1
            drop = None if figure.change is None else sign * figure.change
            yield _at_most(figure.variant, f"accuracy.{wanted}.max_drop", limit, drop)


def _ratios(known: Sequence[Figure], kind: str, option: str, limit: float) -> Iterator[GateCheck]:
    found = [figure for figure in known if figure.kind == kind]
    if not found:
        raise UsageError(f"{option} {limit:g}: the baseline has no {kind} to hold the limit against; {_SPARED}")
    for figure in found:
        place = figure.name.removeprefix("median_ns")
        name = "size.max_ratio" if kind == "size" else f"latency.max_slowdown{place}"
        yield _at_most(figure.variant, name, limit, figure.ratio)


def _at_most(variant: str, check: str, limit: float, measured: float | None) -> GateCheck:
    # As the gate does: 0.95 - 0.94 is more than 0.01 in binary, and one point all the same.
    passed = measured is not None and (measured <= limit or math.isclose(measured, limit, rel_tol=1e-9, abs_tol=1e-9))
    return GateCheck(variant=variant, check=check, limit=limit, measured=measured, passed=passed)
