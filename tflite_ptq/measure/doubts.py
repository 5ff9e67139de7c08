"""Why a latency is to be doubted: what its own raw timings give away. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from tflite_ptq.measure.process_medians import LEAST
from tflite_ptq.result import Latency
from tflite_ptq.timing_result import TimedProcess

_WIDE = 0.10
"""The middle half of the inferences may spread over so much of the median."""
_CLOCK_STEPS = 100
"""Of so few steps of the clock a median is known to one in a hundred at best."""


def doubts(latency: Latency, processes: Sequence[TimedProcess], precision: float, cores: int) -> tuple[str, ...]:
    """Sentences, empty for a figure to be believed. ``precision`` is what was asked, ``cores`` what there are."""
    return tuple(_doubts(latency, processes, precision, cores))


def _doubts(latency: Latency, processes: Sequence[TimedProcess], precision: float, cores: int) -> Iterator[str]:
    if latency.precision is None:
        yield f"no interval: {len(processes)} of at least {LEAST} processes were timed"
    elif not latency.precise:
        yield f"not known to ±{100 * precision:.2g} % when max_seconds were over: raise max_seconds"
    low, high = latency.percentiles_ns["25"], latency.percentiles_ns["75"]
    if high - low > _WIDE * latency.median_ns:
        # A share, not two times: the doubts of many medians can then be told together.
        share = 100 * (high - low) / latency.median_ns
        yield f"wide spread: the middle half of the inferences spans {share:.0f} % of the median"
    unsettled = sum(process.steady is False for process in processes)
    if 2 * unsettled > len(processes):
        yield (
            f"the warm-up was not steady when its time was up, in {unsettled} of {len(processes)} processes: raise "
            "max_seconds"
        )
    if latency.threads > cores:
        yield f"{latency.threads} threads on {cores} core{'s' * (cores != 1)}: they wait for each other"
    clock_ns = max(process.clock_ns for process in processes)
    if latency.median_ns < _CLOCK_STEPS * clock_ns:
        steps = latency.median_ns / max(clock_ns, 1)
        yield f"near the clock's resolution: the median is {steps:.2g} steps of {clock_ns} ns"
