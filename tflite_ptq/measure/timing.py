"""Statistics of raw timings. Pure, in integer nanoseconds, without numpy."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Timing:
    """Of single inferences, in nanoseconds, rounded to whole ones."""

    runs: int
    median_ns: int
    p90_ns: int
    p99_ns: int
    mean_ns: int


def summarize(samples_ns: Sequence[int]) -> Timing:
    """Median, 90th and 99th percentile and mean of ``samples_ns``, in any order. Raises ``ValueError`` for none."""
    if not samples_ns:
        raise ValueError("no timings")
    ordered = sorted(samples_ns)
    return Timing(
        runs=len(ordered),
        median_ns=_percentile(ordered, 50),
        p90_ns=_percentile(ordered, 90),
        p99_ns=_percentile(ordered, 99),
        mean_ns=round(math.fsum(ordered) / len(ordered)),
    )


def speedup(baseline_ns: int, median_ns: int) -> float | None:
    """How many times faster than the baseline: 2.0 is half the time. None where a time is 0 (below the clock)."""
    return baseline_ns / median_ns if baseline_ns > 0 and median_ns > 0 else None


def _percentile(ordered: Sequence[int], percent: int) -> int:
    """Linear interpolation between the neighbours of rank percent/100 * (n - 1) (numpy's default)."""
    hundredths = percent * (len(ordered) - 1)
    below, rest = divmod(hundredths, 100)
    above = min(below + 1, len(ordered) - 1)
    return round(ordered[below] + (ordered[above] - ordered[below]) * rest / 100)
