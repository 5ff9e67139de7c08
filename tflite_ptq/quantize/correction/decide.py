"""Do no harm: corrections are tried on samples that were held back, and only those that help are kept."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from tflite_ptq.model.editing import Editable
from tflite_ptq.quantize.correction.apply import add_to_bias
from tflite_ptq.quantize.correction.bias import one_pass, sequential
from tflite_ptq.quantize.correction.layers import Layer, match
from tflite_ptq.quantize.correction.response import Floats
from tflite_ptq.quantize.correction.samples import Outputs, Sample, as_inputs, judged_tensors, noise
from tflite_ptq.quantize.correction.sequential import mean_maps, samples_that_fit, walk

Method = Literal["one-pass", "sequential"]
Status = Literal["kept", "refused", "skipped"]

_STANDARD_ERRORS = 3.0
"""How sure a gain on the samples held back must be before a single layer is refused or a method preferred: with tens of
layers tried, two standard errors would refuse some by chance."""
_FLOOR = 0.01
"""Noise below this share of the typical sample's counts as this: samples that come out all but exact would otherwise
decide by their logarithm."""
_MOST_LAYERS_TRIED = 64
_LEAST_HELD_BACK = 8
_HELD_BACK_SHARE = 5
MOST_SAMPLES = 256
"""Means settle as 1 / sqrt(n): more samples than this change a bias by less than its own rounding."""


@dataclass(frozen=True)
class Decision:
    """What became of one layer's correction, and why."""

    layer: str
    kind: str
    status: Status
    reason: str


@dataclass(frozen=True)
class Corrected:
    """``data`` is the file to keep. Mean over the samples held back of the outputs' SQNR in dB, before a last softmax
    or logistic (``judged_tensors``)."""

    data: bytes
    method: Method | None
    decisions: tuple[Decision, ...]
    sqnr_before_db: float
    closeness_db: tuple[float, ...]
    """The SQNR afterwards of each sample held back."""

    @property
    def sqnr_after_db(self) -> float:
        """The mean over the samples held back."""
        return float(np.mean(self.closeness_db))

    @property
    def held_back(self) -> int:
        """Number of samples held back."""
        return len(self.closeness_db)


def hold_back(samples: Sequence[Sample]) -> tuple[Sequence[Sample], Sequence[Sample]]:
    """(samples to measure on, samples held back): every fifth; all of them twice where that leaves too few."""
    if len(samples) < _LEAST_HELD_BACK * _HELD_BACK_SHARE // 2:
        return samples, samples
    return [s for i, s in enumerate(samples) if i % _HELD_BACK_SHARE], samples[::_HELD_BACK_SHARE]


def correct(
    reference: Editable,
    quantized: bytes,
    names: Sequence[str],
    samples: Sequence[Sample],
    methods: Sequence[Method],
) -> Corrected:
    """The quantized model with the biases that bring its outputs closest to the float model's.

    ``names``: the inputs' names in order. ``methods`` in the order of preference.
    """
    fitted, held = hold_back(samples)
    plain = Editable(quantized)
    layers, left = match(reference, plain)
    decisions = [Decision(one.name, one.kind, "skipped", one.reason) for one in left]
    sought, looked_at = judged_tensors(reference, plain)
    wanted = list(map(Outputs(reference, sought), as_inputs(reference, names, held)))
    inputs = as_inputs(plain, names, held)

    power = noise(wanted, Outputs(plain, looked_at), inputs)
    floor = max(float(np.median(power)) * _FLOOR, 1e-30)

    def judged(model: Editable) -> Floats:
        """Noise of each sample held back, in dB; lower is better."""
        return np.asarray(10 * np.log10(np.maximum(noise(wanted, Outputs(model, looked_at), inputs), floor)))

    before = judged(plain)
    if not layers or not methods:
        return Corrected(quantized, None, tuple(decisions), -float(before.mean()), tuple((-before).tolist()))
    # Both terms of a correction must be means over the same samples: their difference is far smaller than either.
    fitted = fitted[: samples_that_fit(plain, len(fitted))]
    means = mean_maps(reference, {layer.float_input for layer in layers}, as_inputs(reference, names, fitted))
    deltas = {method: _deltas(method, quantized, layers, names, fitted, means) for method in methods}
    best, with_best = methods[0], judged(_with(quantized, layers, deltas[methods[0]]))
    for method in methods[1:]:
        with_method = judged(_with(quantized, layers, deltas[method]))
        if _lower(with_method, with_best, _STANDARD_ERRORS):
            best, with_best = method, with_method
    kept, after = _choose(quantized, layers, deltas[best], before, with_best, judged)
    gain = f"{-before.mean():.1f} dB to {-after.mean():.1f} dB on {len(held)} samples held back"
    for layer in layers:
        if layer.name in kept:
            decisions.append(Decision(layer.name, layer.kind, "kept", f"{best}: outputs from {gain}"))
        else:
            decisions.append(Decision(layer.name, layer.kind, "refused", "did not bring the outputs closer to float"))
    data = quantized
    if kept:
        # What was decided on a part is computed again on all: means settle as 1 / sqrt(n).
        kept_layers = [layer for layer in layers if layer.name in kept]
        fitted = samples[: samples_that_fit(plain, len(samples))]
        means = mean_maps(reference, {layer.float_input for layer in kept_layers}, as_inputs(reference, names, fitted))
        final = _deltas(best, quantized, kept_layers, names, fitted, means)
        data = _with(quantized, kept_layers, final).to_bytes()
    return Corrected(data, best if kept else None, tuple(decisions), -float(before.mean()), tuple((-after).tolist()))


def _deltas(
    method: Method,
    quantized: bytes,
    layers: Sequence[Layer],
    names: Sequence[str],
    samples: Sequence[Sample],
    means: Mapping[int, Floats],
) -> dict[str, Floats]:
    if method == "one-pass":
        return {layer.name: one_pass(layer, means[layer.float_input]) for layer in layers}
    model = Editable(quantized)
    found: dict[str, Floats] = {}

    def measured(layer: Layer, mean_quantized_input: Floats) -> None:
        found[layer.name] = sequential(layer, means[layer.float_input], mean_quantized_input)
        add_to_bias(model, layer, found[layer.name])

    walk(model, layers, as_inputs(model, names, samples), measured)
    return found


def _choose(
    quantized: bytes,
    layers: Sequence[Layer],
    deltas: Mapping[str, Floats],
    before: Floats,
    together: Floats,
    judged: Callable[[Editable], Floats],
) -> tuple[frozenset[str], Floats]:
    """The layers whose correction is kept, and the noise with them: all, less those surely better taken back."""
    kept = [layer.name for layer in layers if np.any(deltas[layer.name])]
    after = together
    if len(layers) <= _MOST_LAYERS_TRIED:
        for name in list(kept):
            without = judged(_with(quantized, layers, {k: deltas[k] for k in kept if k != name}))
            if _lower(without, after, _STANDARD_ERRORS):
                kept.remove(name)
                after = without
    return (frozenset(kept), after) if _lower(after, before, 1.0) else (frozenset(), before)


def _lower(one: Floats, other: Floats, standard_errors: float) -> bool:
    """Whether ``one`` lies below ``other`` by more than so many standard errors of their paired differences."""
    gain = other - one
    error = float(gain.std(ddof=1)) / math.sqrt(len(gain)) if len(gain) > 1 else 0.0
    return float(gain.mean()) > standard_errors * error


def _with(quantized: bytes, layers: Sequence[Layer], deltas: Mapping[str, Floats]) -> Editable:
    model = Editable(quantized)
    for layer in layers:
        if layer.name in deltas:
            add_to_bias(model, layer, deltas[layer.name])
    return model
