"""What a reader should know of a variant's figures (pure)."""

from __future__ import annotations

from collections.abc import Iterator

from tflite_ptq.report.columns import no_difference_shown
from tflite_ptq.report.units import counts
from tflite_ptq.result import Correction, VariantResult


def notes_on(variant: VariantResult) -> tuple[str, ...]:
    """Sentences that explain figures which surprise people."""
    return tuple(_notes(variant))


def closeness(sqnr_db: float | None) -> str:
    """A figure of ``Correction``."""
    return "identical" if sqnr_db is None else f"{sqnr_db:.1f} dB"


def judged_on(correction: Correction) -> str:
    """The samples that its figures are of."""
    count = correction.held_back_samples
    samples = "1 calibration sample" if count == 1 else f"{count} calibration samples"
    return f"{samples} held back" if correction.held_back else f"{samples}, too few to hold any back"


def by_plain_kernels(done: str, refused: str) -> str:
    """Why the figures are not XNNPACK's; ``refused`` is what it said."""
    return f"{done} with LiteRT's plain kernels: XNNPACK does not run the model with its activations exposed: {refused}"


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
    if variant.fidelity is not None and variant.fidelity.exact and variant.scheme == "dynamic":
        yield (
            "no weights were quantized, so every output is identical to float32's: TFLiteConverter leaves tensors of "
            "fewer than 1,024 values in float"
        )
    elif variant.fidelity is not None and variant.fidelity.exact:
        yield "every output is identical to float32's"
    elif variant.fidelity is not None and variant.fidelity.outputs_sqnr_db:
        apart = ", ".join(f"{name} {closeness(db)}" for name, db in variant.fidelity.outputs_sqnr_db.items())
        yield f"SQNR by output (in the table's, large values weigh most): {apart}"


def _corrected(correction: Correction) -> str:
    states = [layer.status for layer in correction.layers]
    numbers = [f"{states.count(state)} {state}" for state in ("kept", "refused", "skipped") if state in states]
    number, _, rest = ", ".join(numbers).partition(" ")
    layers = f"{number or 'no'} layer{'s' * (number != '1')} {rest}".rstrip()
    before, samples = f"mean SQNR {closeness(correction.sqnr_before_db)}", judged_on(correction)
    if correction.method is None:
        tried = ", not surely closer with it" if "refused" in states else ""
        return f"bias correction: {layers}; {before} on {samples}{tried}"
    after = closeness(correction.sqnr_after_db)
    return f"bias correction ({correction.method}): {layers}; {before} before, {after} after, on {samples}"
