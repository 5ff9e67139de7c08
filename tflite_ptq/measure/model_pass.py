"""One model run on sample after sample, and which of its outputs is what."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from tflite_ptq.data.index import SampleRef
from tflite_ptq.errors import MeasurementError
from tflite_ptq.measure import fidelity
from tflite_ptq.measure.metrics import TOP
from tflite_ptq.model.interpreter import Runner
from tflite_ptq.recipe.schema import Metric

Array = NDArray[np.generic]
Reals = NDArray[np.float64]


@dataclass
class ModelPass:
    """One thread's interpreter of one model, with the outputs of the sample it saw last."""

    name: str
    runner: Runner
    outputs: dict[str, Array] = field(default_factory=dict)
    reals: list[Reals] = field(default_factory=list)
    """The outputs in the model's order, flattened."""
    only_input: str | None = field(init=False)

    def __post_init__(self) -> None:
        inputs = self.runner.inputs
        self.only_input = inputs[0].name if len(inputs) == 1 else None
        self.output_names = [info.name for info in self.runner.outputs]

    def run(self, sample: Mapping[str, Array], ref: SampleRef) -> None:
        """Raises ``MeasurementError`` where the model fails or an output is NaN or infinite."""
        if self.only_input is not None and len(sample) == 1 and self.only_input not in sample:
            # One input, one array: there is nothing to confuse, and published models name theirs otherwise.
            sample = {self.only_input: next(iter(sample.values()))}
        self.outputs = self.runner.run(sample)
        self.reals = [self.outputs[name].ravel().astype(np.float64) for name in self.output_names]
        # One pass finds any NaN or infinity; float64 squares of float32 values cannot overflow.
        self.power = fidelity.power(self.reals)
        if not np.isfinite(self.power):
            name, values = next(
                (name, values)
                for name, values in zip(self.output_names, self.reals, strict=True)
                if not np.isfinite(values).all()
            )
            raise MeasurementError(
                f"{self.runner.path}: output '{name}' of {self.name} holds "
                f"{int((~np.isfinite(values)).sum())} NaN or infinite values of {values.size} on sample {ref.name}; "
                "check the model and the preprocessing with that sample"
            )


def scored(metric: Metric, one: ModelPass) -> Array:
    """The output that ``metric`` scores: the one named, or the only one."""
    names = one.output_names
    if len(names) == 1 and metric.output in (None, names[0]):
        return one.outputs[names[0]]
    if metric.output is None:
        raise MeasurementError(
            f"metric {metric.name}: the model has {len(names)} outputs ({', '.join(names)}); "
            f"say which one is scored: {{name: {metric.name}, output: {names[0]}}}"
        )
    if metric.output not in one.outputs:
        raise MeasurementError(
            f"metric {metric.name}: the model has no output '{metric.output}'; its outputs are {', '.join(names)}"
        )
    return one.outputs[metric.output]


def class_scores(metrics: Sequence[Metric], one: ModelPass, sample: Mapping[str, Array]) -> Array | None:
    """The output that holds a score a class: the one that a top-k metric scores, else the only one if it looks so."""
    top = next((metric for metric in metrics if metric.name in TOP), None)
    try:
        output = scored(Metric(name="top1") if top is None else top, one)
    except MeasurementError:
        return None
    if top is not None:
        return output if output.ndim and output.size == output.shape[-1] else None
    return output if fidelity.scores_classes(output.shape) and same_shape(sample, output) is None else None


def same_shape(sample: Mapping[str, Array], output: Array) -> Array | None:
    """The one input that an output of this shape can be the reconstruction of."""
    candidates = [values for values in sample.values() if values.shape == output.shape]
    return candidates[0] if len(candidates) == 1 else None


def matched(one: ModelPass, reference: ModelPass) -> list[Reals] | None:
    """``one``'s outputs in the order of the reference's, by name (or the only one); None where they differ."""
    if one.output_names == reference.output_names or len(one.output_names) == len(reference.output_names) == 1:
        return one.reals
    by_name = dict(zip(one.output_names, one.reals, strict=True))
    if by_name.keys() != set(reference.output_names):
        return None
    return [by_name[name] for name in reference.output_names]
