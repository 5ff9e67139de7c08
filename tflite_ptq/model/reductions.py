"""A float model that tells the least and the largest value and the sum of its activations instead of its outputs.

REDUCE_MIN, REDUCE_MAX and SUM run where the activation was made, vectorised by XNNPACK and without Python: looking at a
small activation from Python costs more than computing it. REDUCE_MIN and REDUCE_MAX may pass over a NaN (x86's
``minps`` and ``maxps`` do); the sum never does, nor over an infinity. Small activations of one shape are stacked and
reduced together, as an operator costs more than their values; large ones are not, as a stack keeps them all in memory.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from tflite_ptq.model.adding import Adding
from tflite_ptq.model.packing import Shared

MOST_AXES = 6
"""XNNPACK's limit; LiteRT's own kernels go little further."""
MOST_STACKED = 4096
"""Values of an activation that is small: adding one operator to an inference takes about as long as reading them."""

_KINDS = (schema.BuiltinOperator.REDUCE_MIN, schema.BuiltinOperator.REDUCE_MAX, schema.BuiltinOperator.SUM)


def reducible(shape: Sequence[int]) -> bool:
    """Whether an activation of that shape can be reduced: not a scalar, not empty, not of too many axes."""
    return 0 < len(shape) <= MOST_AXES and all(shape)


@dataclass(frozen=True)
class Reduced:
    """A schema ``ModelT`` whose one output, float32 ``(3 * T,)``, holds minima, maxima, then sums of T tensors in an
    ``order`` of its own. Run on n rows at once, one whose tensors are all ``stacked`` gives ``(3 * T * n,)``: each
    number's rows one after the other."""

    model: Any
    output: int
    order: tuple[int, ...]
    stacked: bool


def with_reductions(model: Any, tensors: Sequence[int]) -> Reduced:
    """``model`` is left as it is, and what is not changed is shared.

    ``tensors``: reducible float32 tensors of the first subgraph, at least one, each once.
    """
    added = _Added(model)
    changed, graph = added.model, added.graph
    changed.subgraphs, changed.signatureDefs = [graph], None
    ranks = {tensor: len(graph.tensors[tensor].shape) for tensor in tensors}
    alone, stacks = _stacks({tensor: graph.tensors[tensor] for tensor in tensors})
    stacked = [(added.concatenation(stack), range(1, ranks[stack[0]])) for stack in stacks]
    vectors = []
    for kind in _KINDS:
        if alone:
            vectors.append(added.pack([added.reduction(kind, tensor, range(ranks[tensor])) for tensor in alone]))
        vectors += [added.reduction(kind, stack, axes) for stack, axes in stacked]
    output = added.concatenation(vectors)
    graph.outputs = [output]
    return Reduced(changed, output, (*alone, *(tensor for stack in stacks for tensor in stack)), not alone)


def _stacks(tensors: dict[int, Any]) -> tuple[list[int], list[list[int]]]:
    """The tensors to reduce alone, to a scalar each, and those to reduce together, along their first axis.

    Of a tensor whose shape depends on the data, the file holds no shape that can be trusted: 1 stands for any size.
    """
    alone: list[int] = []
    stacks: dict[tuple[int, ...], list[int]] = {}
    for index, tensor in tensors.items():
        shape = tuple(tensor.shape)
        known = tensor.shapeSignature is None or min(tensor.shapeSignature, default=0) >= 0
        if known and len(shape) > 1 and shape[0] == 1 and math.prod(shape) <= MOST_STACKED:
            stacks.setdefault(shape, []).append(index)
        else:
            alone.append(index)
    return alone, list(stacks.values())


class _Added(Adding):
    """Operators added to the end of the graph, with one float32 output each, whose index the methods return."""

    def __init__(self, model: Any) -> None:
        super().__init__(model)
        self._reducer = Shared(schema.ReducerOptionsT())
        output = schema.TensorT()
        output.shape = []  # LiteRT works it out
        self._output = Shared(output)

    def concatenation(self, inputs: list[int]) -> int:
        """Along the first axis; of one tensor, the tensor."""
        if len(inputs) == 1:
            return inputs[0]
        options = schema.ConcatenationOptionsT()
        return self._append(
            schema.BuiltinOperator.CONCATENATION, inputs, schema.BuiltinOptions.ConcatenationOptions, options
        )

    def pack(self, inputs: list[int]) -> int:
        """Scalars to a vector."""
        options = schema.PackOptionsT()
        options.valuesCount = len(inputs)
        return self._append(schema.BuiltinOperator.PACK, inputs, schema.BuiltinOptions.PackOptions, options)

    def reduction(self, kind: int, tensor: int, axes: range) -> int:
        """Over ``axes``, which are gone then."""
        inputs = [tensor, self.constant(np.array(axes, np.int32))]
        return self._append(kind, inputs, schema.BuiltinOptions.ReducerOptions, self._reducer)

    def _append(self, builtin: int, inputs: list[int], kind: int, options: object) -> int:
        output = self.tensor(self._output)
        self.graph.operators.append(self.operator(builtin, inputs, output, kind, options))
        return output
