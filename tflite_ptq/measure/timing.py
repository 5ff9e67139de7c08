"""Figures of one configuration from its processes' raw timings. Pure, in integer nanoseconds, without numpy."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import median

from tflite_ptq.measure.doubts import doubts
from tflite_ptq.measure.process_medians import median_interval, ratio_interval
from tflite_ptq.result import Interval, Latency
from tflite_ptq.timing_result import TimedConfiguration, TimedProcess

_PERCENTILES = (0, 5, 25, 50, 75, 95, 100)


def summarize(timed: TimedConfiguration, precision: float, cores: int) -> Latency | None:
    """Everything but the speedup; ``None`` where no process came through.

    ``median_ns`` is the median of the processes' medians, percentiles and mean are over all runs of all processes.
    ``precision`` is the asked half-width of the median's interval, relative to the median; ``cores`` are this
    machine's. Load and first inference are medians over processes, peak memory is the largest.
    """
    processes = [process for process in timed.processes if process is not None]
    if not processes:
        return None
    runs = sorted(ns for process in processes for ns in process.runs_ns)
    medians = process_medians(processes)
    middle = median(medians)
    interval = median_interval(medians)
    reached = relative_half_width(middle, interval)
    latency = Latency(
        delegate=timed.delegate,
        threads=timed.threads,
        runs=len(runs),
        median_ns=round(middle),
        p90_ns=percentile(runs, 90),
        p99_ns=percentile(runs, 99),
        mean_ns=round(math.fsum(runs) / len(runs)),
        load_ns=round(median(process.load_ns for process in processes)),
        first_ns=round(median(process.first_ns for process in processes)),
        peak_memory_bytes=max(process.peak_memory_bytes for process in processes),
        arena_bytes=processes[0].arena_bytes,
        delegated_ops=processes[0].delegated_ops,
        total_ops=processes[0].total_ops,
        left_ops=processes[0].left_ops,
        processes=len(processes),
        process_medians_ns=tuple(round(one) for one in medians),
        median_interval_ns=interval,
        precision=reached,
        precise=reached is not None and reached <= precision,
        percentiles_ns={str(percent): percentile(runs, percent) for percent in _PERCENTILES},
    )
    return latency.model_copy(update={"warnings": doubts(latency, processes, precision, cores)})


def against(own: Latency, timed: TimedConfiguration, yardstick: Latency, reference: TimedConfiguration) -> Latency:
    """``own`` with its speedup: how many times as fast as ``yardstick``; 2.0 is half the time.

    The ratio is of the two medians, its interval is paired over the rounds that both were timed in. None where a time
    is 0 (below the clock).
    """
    if own.median_ns <= 0 or yardstick.median_ns <= 0:
        return own
    pairs = [
        (theirs, ours)
        for theirs, ours in zip(reference.processes, timed.processes, strict=False)
        if theirs is not None and ours is not None
    ]
    baseline, mine = process_medians([pair[0] for pair in pairs]), process_medians([pair[1] for pair in pairs])
    speedup = yardstick.median_ns / own.median_ns
    interval = ratio_interval(baseline, mine) if all(ns > 0 for ns in (*baseline, *mine)) else None
    if interval is not None and len(pairs) < max(own.processes, yardstick.processes):
        # The medians also hold rounds without a partner: their ratio may lie beside what the pairs say.
        interval = interval.model_copy(update={"low": min(interval.low, speedup), "high": max(interval.high, speedup)})
    return own.model_copy(update={"speedup": speedup, "speedup_interval": interval})


def process_medians(processes: Sequence[TimedProcess]) -> list[float]:
    """One median a process, in ns."""
    return [float(median(process.runs_ns)) for process in processes]


def relative_half_width(middle: float, interval: Interval | None) -> float | None:
    """Half the interval's width over the figure; None where either is missing."""
    return (interval.high - interval.low) / 2 / middle if interval is not None and middle > 0 else None


def percentile(ordered: Sequence[int], percent: int) -> int:
    """Linear interpolation between the neighbours of rank percent/100 * (n - 1) (numpy's default)."""
    hundredths = percent * (len(ordered) - 1)
    below, rest = divmod(hundredths, 100)
    above = min(below + 1, len(ordered) - 1)
    return round(ordered[below] + (ordered[above] - ordered[below]) * rest / 100)
