"""What the marks and columns of the tables of variants mean: only of those that are shown. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from tflite_ptq.recipe.schema import FLOAT32
from tflite_ptq.report.columns import no_difference_shown, significant
from tflite_ptq.result import VariantResult


def legend(variants: Sequence[VariantResult], yardstick: str = FLOAT32) -> tuple[str, ...]:
    """A sentence or two each; ``yardstick`` is what speedups are against."""
    return tuple(_sentences(variants, yardstick))


def starred(variants: Sequence[VariantResult]) -> bool:
    """Whether a change carries the star of significance."""
    return any(significant(metric) for variant in variants for metric in (variant.accuracy or {}).values())


def approximate(variants: Sequence[VariantResult]) -> bool:
    """Whether a speedup carries the sign for no difference shown."""
    timings = [timing for variant in variants for timing in variant.latency or ()]
    return any(timing.speedup is not None and no_difference_shown(timing) for timing in timings)


def _sentences(variants: Sequence[VariantResult], yardstick: str) -> Iterator[str]:
    metrics = [metric for variant in variants for metric in (variant.accuracy or {}).values()]
    marks = []
    if any(metric.interval for metric in metrics):
        marks.append("±: half the 95 % interval")
    if starred(variants):
        marks.append("*: p < 0.05, paired on the same samples")
    if marks:
        yield f"{'; '.join(marks)}."
    fidelities = [variant.fidelity for variant in variants if variant.fidelity]
    told = []
    if any(fidelity.agreement is not None for fidelity in fidelities):
        told.append("agrees: same top class as float32.")
    if any(fidelity.exact or fidelity.sqnr_db is not None for fidelity in fidelities):
        told.append("SQNR: output against float32's.")
    if told:
        yield " ".join(told)
    timings = [timing for variant in variants for timing in variant.latency or ()]
    if timings:
        sure = ", ±: half its 95 % interval" if any(timing.precision is not None for timing in timings) else ""
        speedup = f"; ×: times as fast as {yardstick}" if any(timing.speedup is not None for timing in timings) else ""
        yield f"Times: median of the processes' medians{sure}{speedup}."
    if approximate(variants):
        yield "≈: no difference shown (the speedup's 95 % interval covers 1)."
