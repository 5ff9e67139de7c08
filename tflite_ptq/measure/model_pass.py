"""One model run on samples, several at a time, and which of its outputs is what."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from tflite_ptq.data.index import SampleRef
from tflite_ptq.errors import MeasurementError
from tflite_ptq.measure import fidelity
from tflite_ptq.measure.classes import told
from tflite_ptq.model.interpreter import Runner
from tflite_ptq.recipe.metric import CLASS_METRICS, Metric

Array = NDArray[np.generic]
Reals = NDArray[np.float64]
_REAL_BYTES = 4


@dataclass
class ModelPass:
    """One worker's interpreter of one model, with the outputs of the samples it saw last."""

    name: str
    runner: Runner
    outputs: dict[str, Array] = field(default_factory=dict)
    """By name, each (n, *shape)."""
    reals: dict[str, Reals] = field(default_factory=dict)
    """The outputs in the model's order, each (n, values)."""
    power: Reals = field(default_factory=lambda: np.empty(0))
    """The outputs' sum of squares (n,)."""

    def __post_init__(self) -> None:
        self.output_names = [info.name for info in self.runner.outputs]

    @property
    def sample_bytes(self) -> int | None:
        """What the largest input or output takes as float32; None where a dimension is open, but for an open batch
        dimension, which is 1 here."""
        every = (info.shape for info in (*self.runner.inputs, *self.runner.outputs))
        shapes = [(1, *shape[1:]) if shape[:1] == (-1,) else shape for shape in every]
        if any(size < 0 for shape in shapes for size in shape):
            return None
        return max(_REAL_BYTES * math.prod(shape) for shape in shapes)

    def run(self, samples: Mapping[str, Array], refs: Sequence[SampleRef]) -> None:
        """Runs on n samples, each input (n, *shape). Raises ``MeasurementError`` where the model fails or an output
        is NaN or infinite; it names the first sample."""
        inputs = self.runner.inputs
        if len(inputs) == 1 and len(samples) == 1:
            # One input, one array: there is nothing to confuse, and published models name theirs otherwise.
            samples = {inputs[0].name: next(iter(samples.values()))}
        self.outputs = self.runner.run_all(samples)
        self.reals = {name: self.outputs[name].reshape(len(refs), -1).astype(np.float64) for name in self.output_names}
        # One pass finds any NaN or infinity; float64 squares of float32 values cannot overflow.
        self.power = fidelity.power(list(self.reals.values()))
        if not np.isfinite(self.power).all():
            raise self._not_finite(refs)

    def scored(self, metric: Metric) -> str:
        """The output that ``metric`` scores: the one named, or the only one. Raises ``MeasurementError``."""
        names = self.output_names
        if len(names) == 1 and metric.output in (None, names[0]):
            return names[0]
        if metric.output is None:
            raise MeasurementError(
                f"metric {metric.name}: the model has {len(names)} outputs ({', '.join(names)}); "
                f"say which one is scored: {{name: {metric.name}, output: {names[0]}}}"
            )
        if metric.output not in names:
            raise MeasurementError(
                f"metric {metric.name}: the model has no output '{metric.output}'; its outputs are {', '.join(names)}"
            )
        return metric.output

    def class_scores(self, metrics: Sequence[Metric], samples: Mapping[str, Array]) -> Reals | None:
        """The scores (n, K) of the output that the first metric of classes scores, else of the only output if it looks
        like class scores; None where there is none."""
        top = next((metric for metric in metrics if metric.name in CLASS_METRICS), None)
        try:
            name = self.scored(top or Metric(name="top1"))
        except MeasurementError:
            return None
        output = self.outputs[name]
        if told(output) is not None:
            return None
        if top is None and not (fidelity.scores_classes(output.shape[1:]) and reconstructed(samples, output) is None):
            return None
        scores = self.reals[name]
        return scores if output.ndim > 1 and 0 < scores.shape[1] == output.shape[-1] else None

    def reals_as(self, reference: ModelPass) -> list[Reals] | None:
        """The outputs in the order of the reference's, by name (or the only one); None where they are not the same."""
        if len(self.output_names) == len(reference.output_names) == 1:
            matched = list(self.reals.values())
        elif self.reals.keys() == reference.reals.keys():
            matched = [self.reals[name] for name in reference.output_names]
        else:
            return None
        same = all(a.shape == b.shape for a, b in zip(matched, reference.reals.values(), strict=True))
        return matched if same else None

    def _not_finite(self, refs: Sequence[SampleRef]) -> MeasurementError:
        first = int(np.flatnonzero(~np.isfinite(self.power))[0])
        name = next(name for name, values in self.reals.items() if not np.isfinite(values[first]).all())
        values = self.reals[name][first]
        return MeasurementError(
            f"{self.runner.path}: output '{name}' of {self.name} holds "
            f"{int((~np.isfinite(values)).sum())} NaN or infinite values of {values.size} on sample "
            f"{refs[first].name}; check the model and the preprocessing with that sample"
        )


def reconstructed(samples: Mapping[str, Array], output: Array) -> Array | None:
    """The one input that an output of this shape can be the reconstruction of; all are (n, ...)."""
    candidates = [values for values in samples.values() if values.shape == output.shape]
    return candidates[0] if len(candidates) == 1 else None
