"""The float model on the samples: what its outputs are on those held back, and the mean inputs of its layers.

Each is computed once, however many quantized models are held against it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from tflite_ptq.model.editing import Editable
from tflite_ptq.quantize.correction.layers import Layer
from tflite_ptq.quantize.correction.response import Floats
from tflite_ptq.quantize.correction.samples import Outputs, Sample, as_inputs, judged_tensors, noise
from tflite_ptq.quantize.correction.sequential import mean_maps

_FLOOR = 0.01
"""Noise below this share of the typical sample's counts as this: samples that come out all but exact would otherwise
decide by their logarithm."""
_LEAST_HELD_BACK = 8
_HELD_BACK_SHARE = 5

Judge = Callable[[Editable], Floats]
"""Noise of a quantized model's outputs on each sample held back, in dB; lower is better."""


class Yardstick:
    """A float model and the samples to correct by, in memory.

    ``names``: the inputs' names in order. ``fitted``: the samples to measure on; ``held``: those held back.
    """

    def __init__(self, reference: Editable, names: Sequence[str], samples: Sequence[Sample]) -> None:
        self.reference, self.names, self.samples = reference, names, samples
        self.fitted, self.held = hold_back(samples)
        self._wanted: dict[tuple[int, ...], list[list[Floats]]] = {}
        self._means: dict[tuple[frozenset[int], int, bool], Mapping[int, Floats]] = {}

    def judge(self, plain: Editable) -> Judge:
        """For models that differ from ``plain`` in their biases only."""
        sought, looked_at = judged_tensors(self.reference, plain)
        if sought not in self._wanted:
            inputs = as_inputs(self.reference, self.names, self.held)
            self._wanted[sought] = list(map(Outputs(self.reference, sought), inputs))
        wanted, inputs = self._wanted[sought], as_inputs(plain, self.names, self.held)
        power = noise(wanted, Outputs(plain, looked_at), inputs)
        floor = max(float(np.median(power)) * _FLOOR, 1e-30)
        return lambda model: np.asarray(
            10 * np.log10(np.maximum(noise(wanted, Outputs(model, looked_at), inputs), floor))
        )

    def means(self, layers: Sequence[Layer], most: int, *, fitted: bool) -> Mapping[int, Floats]:
        """The mean input maps of the layers by tensor: over the samples fitted or over all, ``most`` at most."""
        tensors = frozenset(layer.float_input for layer in layers)
        samples = (self.fitted if fitted else self.samples)[:most]
        key = (tensors, len(samples), fitted)
        if key not in self._means:
            self._means[key] = mean_maps(self.reference, tensors, as_inputs(self.reference, self.names, samples))
        return self._means[key]


def hold_back(samples: Sequence[Sample]) -> tuple[Sequence[Sample], Sequence[Sample]]:
    """(samples to measure on, samples held back): every fifth; all of them twice where that leaves too few."""
    if len(samples) < _LEAST_HELD_BACK * _HELD_BACK_SHARE // 2:
        return samples, samples
    return [s for i, s in enumerate(samples) if i % _HELD_BACK_SHARE], samples[::_HELD_BACK_SHARE]
