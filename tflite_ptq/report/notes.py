"""What a reader should know of a variant's figures (pure)."""

from __future__ import annotations

from collections.abc import Iterator

from tflite_ptq.result import VariantResult


def notes_on(variant: VariantResult) -> tuple[str, ...]:
    """Sentences that explain figures which surprise people."""
    return tuple(_notes(variant))


def _notes(variant: VariantResult) -> Iterator[str]:
    slow = any(x.speedup is not None and x.speedup < 1 for x in variant.latency or ())
    if variant.scheme == "int16x8" and slow:
        yield "slower than float32: LiteRT has no optimized CPU kernels for int16 activations with int8 weights"
    if variant.scheme == "float16" and variant.latency:
        yield "float16 halves the file; on CPUs without float16 arithmetic the weights are expanded to float32"
    if variant.fidelity is not None and variant.fidelity.exact:
        yield "every output is identical to float32's"
