"""What a reader should know of a variant's figures (pure)."""

from __future__ import annotations

from collections.abc import Iterator

from tflite_ptq.report.columns import no_difference_shown
from tflite_ptq.report.units import counts
from tflite_ptq.result import Correction, VariantResult


def notes_on(variant: VariantResult) -> tuple[str, ...]:
    """Sentences that explain figures which surprise people."""
    return tuple(_notes(variant))


def _notes(variant: VariantResult) -> Iterator[str]:
    if variant.correction is not None and variant.correction.layers:
        yield _corrected(variant.correction)
    slow = any(x.speedup is not None and x.speedup < 1 and not no_difference_shown(x) for x in variant.latency or ())
    if variant.scheme == "int16x8" and slow:
        yield "slower than float32: LiteRT has no optimized CPU kernels for int16 activations with int8 weights"
    if variant.scheme == "float16" and variant.latency:
        yield (
            "float16 halves the file; on CPUs without float16 arithmetic the weights are expanded to float32, which "
            "brings no speed"
        )
    # Where one thread is measured and two, the operators are placed alike.
    places = {x.delegate: x for x in variant.latency or () if x.left_ops}
    for delegate, latency in places.items():
        yield (
            f"{delegate} left {sum((latency.left_ops or {}).values())} of {latency.total_ops} operators to plain "
            f"kernels: {counts(latency.left_ops)}"
        )
    if variant.fidelity is not None and variant.fidelity.exact:
        yield "every output is identical to float32's"


def _corrected(correction: Correction) -> str:
    states = [layer.status for layer in correction.layers]
    counts = ", ".join(f"{states.count(state)} {state}" for state in ("kept", "refused", "skipped") if state in states)
    samples = (
        f"{correction.held_back_samples} calibration samples held back"
        if correction.held_back
        else f"{correction.held_back_samples} calibration samples, too few to hold any back"
    )
    closeness = f"outputs {correction.sqnr_before_db:.1f} dB"
    if correction.method is None:
        return f"bias correction: layers {counts}; {closeness} on {samples}, not surely closer with it"
    return (
        f"bias correction ({correction.method}): layers {counts}; {closeness} before, "
        f"{correction.sqnr_after_db:.1f} dB after, on {samples}"
    )
