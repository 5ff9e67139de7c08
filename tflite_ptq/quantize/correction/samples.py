"""Samples as a model's own inputs, and a model's outputs as real values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from tflite_ptq.model.affine import quantize
from tflite_ptq.model.editing import Editable
from tflite_ptq.model.tap import watching

Array = NDArray[np.generic]
Sample = Mapping[str, Array]
Floats = NDArray[np.float64]

_SQUASHING = frozenset({"SOFTMAX", "LOG_SOFTMAX", "LOGISTIC"})
_PASSING = frozenset({"QUANTIZE", "DEQUANTIZE", "RESHAPE"})


def as_inputs(model: Editable, names: Sequence[str], samples: Sequence[Sample]) -> list[list[Array]]:
    """Per sample the model's inputs in order, in their own dtypes; ``names`` are the inputs' names in that order."""
    return [
        [_own(model, tensor, sample[name]) for tensor, name in zip(model.inputs, names, strict=True)]
        for sample in samples
    ]


def _own(model: Editable, tensor: int, value: Array) -> Array:
    affine, dtype = model.affine(tensor), np.dtype(model.dtype(tensor))
    if affine is None or value.dtype == dtype:
        return value.astype(dtype, copy=False)
    return quantize(value, float(affine.scale[0]), int(affine.zero_point[0]), dtype)


def judged_tensors(reference: Editable, quantized: Editable) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """(in ``reference``, in ``quantized``): the outputs, or where both models end in a softmax or logistic, its input.

    Probabilities of samples that a network is sure of are 0 and 1 whatever happens before them: on 40 such samples the
    error of a MobileNet's outputs is chance, the error of its logits is not.
    """
    sought, looked_at = list(reference.outputs), list(quantized.outputs)
    for i, (output, other) in enumerate(zip(reference.outputs, quantized.outputs, strict=True)):
        before, other_before = _before_squashing(reference, output), _before_squashing(quantized, other)
        if before is None or other_before is None or reference.shape(before) != quantized.shape(other_before):
            continue
        sought[i], looked_at[i] = before, other_before
    return tuple(sought), tuple(looked_at)


def _before_squashing(model: Editable, tensor: int) -> int | None:
    made_by = {i: node for node in model.nodes() for i in node.outputs}
    node = made_by.get(tensor)
    while node is not None and node.name in _PASSING:
        node = made_by.get(node.inputs[0])
    return node.inputs[0] if node is not None and node.name in _SQUASHING else None


class Outputs:
    """Real values of a model's tensors, by default its outputs, for samples given in its own input dtypes."""

    def __init__(self, model: Editable, tensors: Sequence[int] | None = None) -> None:
        wanted = model.outputs if tensors is None else tuple(tensors)
        self._tap = watching(model, wanted)
        self.refused = self._tap.refused
        """Why XNNPACK does not run the model, where plain kernels do."""
        self._affine = [model.affine(tensor) for tensor in wanted]

    def __call__(self, inputs: Sequence[Array]) -> list[Floats]:
        """One sample's tensors in order, float64."""
        self._tap.run(inputs)
        found = []
        for position, affine in enumerate(self._affine):
            value = self._tap.view(position).astype(np.float64)
            found.append(value if affine is None else affine.scale[0] * (value - affine.zero_point[0]))
        return found


def powers_of(reference: Sequence[Sequence[Floats]]) -> Sequence[float]:
    """The mean power of each output of the float model over samples."""
    return [max(float(np.mean([np.sum(s[i] ** 2) for s in reference])), 1e-30) for i in range(len(reference[0]))]


def noise(
    reference: Sequence[Sequence[Floats]],
    powers: Sequence[float],
    outputs: Outputs,
    inputs: Sequence[Sequence[Array]],
) -> Floats:
    """Per sample the sum of squared differences to the float model's outputs, each output over its own power.

    Dividing by the mean power of an output makes a vector of large numbers and one of probabilities count alike.
    """
    return np.array(
        [
            sum(
                float(np.sum((want - got) ** 2)) / power
                for want, got, power in zip(wanted, outputs(sample), powers, strict=True)
            )
            for wanted, sample in zip(reference, inputs, strict=True)
        ]
    )
