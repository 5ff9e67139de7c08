"""Gate verdicts: the recipe's limits against what was measured. Pure.

``measured`` is ``None`` where there is no figure, and such a check is not passed. The one exception is an SQNR that is
infinite because the outputs are identical: JSON has no infinity, so it is ``None`` too, and passed.

With ``confidence`` a limit is held against the pessimistic end of the figure's interval: the low end where more is
better, the high end where less is. Where there is no such interval nothing was measured.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

from tflite_ptq.errors import EXIT_FAILED, EXIT_GATE, EXIT_OK
from tflite_ptq.recipe.gate import AccuracyLimits, FidelityLimits, GateLimits, LatencyLimits, SizeLimits
from tflite_ptq.recipe.schema import FLOAT32
from tflite_ptq.result import GateCheck, Interval, Latency, Metric, Status, VariantResult

# 0.95 - 0.94 is 0.010000000000000009 in binary: without slack a drop of exactly one point would break a limit of 0.01.
# No figure that a gate looks at is known to nine digits, so the slack lets nothing else through.
_SLACK = 1e-9


def judge(
    gate: Mapping[str, GateLimits], variants: Sequence[VariantResult], higher_is_better: Mapping[str, bool]
) -> tuple[GateCheck, ...]:
    """One check a limit, in the order of ``gate``; a latency limit gives one check a configuration.

    ``higher_is_better`` is keyed by metric. Names: ``accuracy.top1.max_drop``, ``latency.min_speedup[xnnpack,1]``,
    ``size.max_ratio``, ``fully_integer``. A variant that the gate names and the run lacks fails all its checks.

    Raises:
        KeyError: a metric under ``max_drop`` was measured but is not in ``higher_is_better`` (a bug of the caller).
    """
    by_name = {variant.name: variant for variant in variants}
    missing = VariantResult(name="", scheme="")
    float32 = by_name.get(FLOAT32, missing)
    checks: list[GateCheck] = []
    for name, limits in gate.items():
        variant = by_name.get(name, missing)
        if limits.accuracy is not None:
            checks += _accuracy(name, limits.accuracy, variant, float32, higher_is_better)
        if limits.fidelity is not None:
            checks += _fidelity(name, limits.fidelity, variant)
        if limits.size is not None:
            checks += _size(name, limits.size, variant, float32)
        if limits.latency is not None:
            checks += _latency(name, limits.latency, variant, float32)
        if limits.fully_integer is not None:
            checks.append(_fully_integer(name, limits.fully_integer, variant))
    return tuple(checks)


def status(variants: Sequence[VariantResult], checks: Sequence[GateCheck], errors: Sequence[str]) -> Status:
    """``error`` (something could not be made or measured) outranks ``failed`` (a limit is broken)."""
    if errors or any(variant.error is not None for variant in variants):
        return "error"
    return "passed" if all(check.passed for check in checks) else "failed"


def exit_code(status: Status) -> int:
    """What the process exits with."""
    return {"passed": EXIT_OK, "failed": EXIT_GATE, "error": EXIT_FAILED}[status]


def _accuracy(
    name: str,
    limits: AccuracyLimits,
    variant: VariantResult,
    float32: VariantResult,
    higher_is_better: Mapping[str, bool],
) -> Iterator[GateCheck]:
    ours, reference = variant.accuracy or {}, float32.accuracy or {}
    metric = limits.metric or next(iter(ours or reference), None)
    # With nothing measured and no metric named there is none to write into the check's name.
    prefix = "accuracy" if metric is None else f"accuracy.{metric}"
    found, sure = ours.get(metric or ""), limits.confidence
    if limits.max_drop is not None:
        drop = None
        if metric is not None and found is not None and metric in reference:
            # change < 0 is worse where higher is better, better where it is an error; a drop > 0 is always worse.
            better_up = higher_is_better[metric]
            worst = (
                found.value - reference[metric].value
                if sure is None
                else _end(found.change_interval, sure, low=better_up)
            )
            drop = None if worst is None else -worst if better_up else worst
        yield _at_most(name, f"{prefix}.max_drop", limits.max_drop, drop, sure)
    if limits.min is not None:
        yield _at_least(name, f"{prefix}.min", limits.min, _figure(found, sure, low=True), sure)
    if limits.max is not None:
        yield _at_most(name, f"{prefix}.max", limits.max, _figure(found, sure, low=False), sure)


def _figure(metric: Metric | None, sure: float | None, *, low: bool) -> float | None:
    """The metric's value, or an end of its interval."""
    if metric is None:
        return None
    return metric.value if sure is None else _end(metric.interval, sure, low=low)


def _end(interval: Interval | None, sure: float, *, low: bool) -> float | None:
    """An end of an interval that is at least as sure as asked."""
    if interval is None or interval.confidence < sure:
        return None
    return interval.low if low else interval.high


def _fidelity(name: str, limits: FidelityLimits, variant: VariantResult) -> Iterator[GateCheck]:
    fidelity = variant.fidelity
    if limits.min_agreement is not None:
        agreement = None if fidelity is None else fidelity.agreement
        yield _at_least(name, "fidelity.min_agreement", limits.min_agreement, agreement)
    if limits.min_sqnr_db is not None:
        check = "fidelity.min_sqnr_db"
        if fidelity is not None and fidelity.exact:
            yield GateCheck(variant=name, check=check, limit=limits.min_sqnr_db, measured=None, passed=True)
        else:
            yield _at_least(name, check, limits.min_sqnr_db, None if fidelity is None else fidelity.sqnr_db)


def _size(name: str, limits: SizeLimits, variant: VariantResult, float32: VariantResult) -> Iterator[GateCheck]:
    size = variant.size_bytes
    if limits.max_ratio is not None:
        ratio = size / float32.size_bytes if size is not None and float32.size_bytes else None
        yield _at_most(name, "size.max_ratio", limits.max_ratio, ratio)
    if limits.max_bytes is not None:
        yield _at_most(name, "size.max_bytes", limits.max_bytes, size)


def _latency(name: str, limits: LatencyLimits, variant: VariantResult, float32: VariantResult) -> Iterator[GateCheck]:
    measured = {(timing.delegate, timing.threads): timing for timing in variant.latency or ()}
    # A configuration that float32 was timed in and this variant was not is a missing figure, not one limit fewer.
    asked = [*measured, *((timing.delegate, timing.threads) for timing in float32.latency or ())]
    wanted = [
        (delegate, threads)
        for delegate, threads in dict.fromkeys(asked)
        if limits.delegate in (None, delegate) and limits.threads in (None, threads)
    ]
    timings: list[tuple[str, Latency | None]] = [
        (f"[{delegate},{threads}]", measured.get((delegate, threads))) for delegate, threads in wanted
    ]
    for place, timing in timings or [(f"[{limits.delegate or '*'},{limits.threads or '*'}]", None)]:
        if limits.min_speedup is not None:
            speedup = _speedup(timing, limits.confidence)
            yield _at_least(name, f"latency.min_speedup{place}", limits.min_speedup, speedup, limits.confidence)
        if limits.max_median_ms is not None:
            median_ms = _median_ms(timing, limits.confidence)
            yield _at_most(name, f"latency.max_median_ms{place}", limits.max_median_ms, median_ms, limits.confidence)


def _speedup(timing: Latency | None, sure: float | None) -> float | None:
    if timing is None:
        return None
    return timing.speedup if sure is None else _end(timing.speedup_interval, sure, low=True)


def _median_ms(timing: Latency | None, sure: float | None) -> float | None:
    if timing is None:
        return None
    median_ns = timing.median_ns if sure is None else _end(timing.median_interval_ns, sure, low=False)
    return None if median_ns is None else median_ns / 1e6


def _fully_integer(name: str, limit: bool, variant: VariantResult) -> GateCheck:
    measured = None if variant.audit is None else variant.audit.fully_integer
    # ``fully_integer: false`` asks for nothing: an integer model is never worse than was asked.
    passed = measured is not None and (measured or not limit)
    return GateCheck(variant=name, check="fully_integer", limit=limit, measured=measured, passed=passed)


def _at_most(variant: str, check: str, limit: float, measured: float | None, sure: float | None = None) -> GateCheck:
    figure = _finite(measured)
    passed = figure is not None and figure <= limit + _SLACK
    return GateCheck(variant=variant, check=check, limit=limit, measured=figure, passed=passed, confidence=sure)


def _at_least(variant: str, check: str, limit: float, measured: float | None, sure: float | None = None) -> GateCheck:
    figure = _finite(measured)
    passed = figure is not None and figure >= limit - _SLACK
    return GateCheck(variant=variant, check=check, limit=limit, measured=figure, passed=passed, confidence=sure)


def _finite(measured: float | None) -> float | None:
    """NaN and infinity are no figures (and not JSON): they count as not measured."""
    return measured if measured is not None and math.isfinite(measured) else None
