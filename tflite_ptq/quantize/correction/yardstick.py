"""The float model on the samples: what its outputs are on those held back, and the mean inputs of its layers.

Each is computed once, however many quantized models are held against it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from tflite_ptq.errors import MeasurementError
from tflite_ptq.model.editing import Editable
from tflite_ptq.model.open_shapes import learn_shapes
from tflite_ptq.quantize.correction.closer import EXACT_DB
from tflite_ptq.quantize.correction.layers import Layer
from tflite_ptq.quantize.correction.response import Floats
from tflite_ptq.quantize.correction.samples import Outputs, Sample, as_inputs, judged_tensors, noise, powers_of
from tflite_ptq.quantize.correction.sequential import mean_maps

_FLOOR = 0.01
"""Noise below this share of the typical sample's counts as this: samples that come out all but exact would otherwise
decide by their logarithm."""
_NO_NOISE = 10 ** (-EXACT_DB / 10)
_PARTS = 5
_LEAST_HELD_BACK = 12
_LEAST_SAMPLES = 10

Models = Sequence[Editable]
"""A model for each fold."""
Judge = Callable[[Models], Floats]
"""Noise of quantized models' outputs on each sample held back, each by the model of its fold, in dB; lower is better.
"""


@dataclass(frozen=True)
class Fold:
    """The samples to measure on, and those held back."""

    fitted: Sequence[Sample]
    held: Sequence[Sample]


def folds_of(samples: Sequence[Sample], *, in_turn: bool) -> tuple[Fold, ...]:
    """Every fifth sample is held back; each part ``in_turn`` where a fifth is too few to judge by (cross-validation);
    of a handful, all serve for both."""
    if len(samples) < _LEAST_SAMPLES:
        return (Fold(samples, samples),)
    parts = _PARTS if in_turn and len(samples) < _LEAST_HELD_BACK * _PARTS else 1
    return tuple(
        Fold([s for i, s in enumerate(samples) if i % _PARTS != part], samples[part::_PARTS]) for part in range(parts)
    )


class Yardstick:
    """A float model and the samples to correct by, in memory. ``names``: the inputs' names in order.

    Raises ``MeasurementError`` where LiteRT cannot run the model.
    """

    def __init__(
        self, reference: Editable, names: Sequence[str], samples: Sequence[Sample], *, in_turn: bool = True
    ) -> None:
        self.reference, self.names, self.samples = reference, names, samples
        if samples:
            learn_shapes(reference, as_inputs(reference, names, samples[:1])[0])
        self.folds = folds_of(samples, in_turn=in_turn)
        self._held = [sample for fold in self.folds for sample in fold.held]
        self._refused: str | None = None
        self._wanted: dict[tuple[int, ...], list[list[Floats]]] = {}
        self._means: dict[tuple[frozenset[int], int, int | None], Mapping[int, Floats]] = {}

    @property
    def holds_back(self) -> bool:
        """Whether any sample is judged on that was not measured on."""
        return self.folds[0].fitted is not self.folds[0].held

    def judge(self, plain: Editable) -> tuple[Judge, Floats, str | None]:
        """For models that differ from ``plain`` in their biases only; what it says of ``plain`` itself; and why XNNPACK
        does not run that or the float model, where plain kernels do.

        Infinite where outputs hold NaN or infinity. The judge raises ``MeasurementError`` where XNNPACK runs ``plain``
        but not with other biases: such a file is not one to ship, though plain kernels may run it.
        """
        sought, looked_at = judged_tensors(self.reference, plain)
        if sought not in self._wanted:
            held = as_inputs(self.reference, self.names, self._held)
            outputs = Outputs(self.reference, sought)
            self._wanted[sought], self._refused = list(map(outputs, held)), outputs.refused
        wanted, inputs = self._wanted[sought], as_inputs(plain, self.names, self._held)
        ends = np.cumsum([len(fold.held) for fold in self.folds])
        parts = [slice(end - len(fold.held), end) for end, fold in zip(ends, self.folds, strict=True)]

        powers = self._powers_of(sought)

        def noises(outputs: Sequence[Outputs]) -> Floats:
            by_fold = zip(outputs, parts, strict=True)
            found = np.concatenate([noise(wanted[part], powers, one, inputs[part]) for one, part in by_fold])
            return np.where(np.isfinite(found), found, np.inf)

        of_plain_model = Outputs(plain, looked_at)
        of_plain = noises([of_plain_model] * len(self.folds))
        typical = float(np.median(of_plain)) or float(np.mean(of_plain))
        floor = max(typical * _FLOOR, _NO_NOISE)

        def in_db(power: Floats) -> Floats:
            return np.asarray(10 * np.log10(np.maximum(power, floor)))

        def judged(models: Models) -> Floats:
            outputs = [Outputs(model, looked_at) for model in models]
            for one in outputs:
                if one.refused is not None and of_plain_model.refused is None:
                    raise MeasurementError(f"XNNPACK does not run the model with its biases corrected: {one.refused}")
            return in_db(noises(outputs))

        return judged, in_db(of_plain), self._refused or of_plain_model.refused

    def _powers_of(self, sought: tuple[int, ...]) -> Sequence[float]:
        """Those of the samples held back; of few samples those of all, whether each part is held back in its turn or
        only the first, so that the noise of one and of the other can be compared."""
        if len(self._held) < len(self.samples) < _LEAST_HELD_BACK * _PARTS:
            outputs = Outputs(self.reference, sought)
            return powers_of([outputs(one) for one in as_inputs(self.reference, self.names, self.samples)])
        return powers_of(self._wanted[sought])

    def measured(self, fold: int | None) -> Sequence[Sample]:
        """The samples to measure on in a fold, or all."""
        return self.samples if fold is None else self.folds[fold].fitted

    def means(self, layers: Sequence[Layer], most: int, fold: int | None) -> Mapping[int, Floats]:
        """The mean input maps of the layers by tensor, over ``most`` of the samples ``measured``."""
        tensors = frozenset(layer.float_input for layer in layers)
        samples = self.measured(fold)[:most]
        key = (tensors, len(samples), fold)
        if key not in self._means:
            self._means[key] = mean_maps(self.reference, tensors, as_inputs(self.reference, self.names, samples))
        return self._means[key]
