"""A float model that tells the least and the largest value and the sum of its activations instead of its outputs.

REDUCE_MIN, REDUCE_MAX and SUM run right behind the operator that made the activation, vectorised by XNNPACK and without
Python: looking at a small activation from Python costs more than computing it. REDUCE_MIN and REDUCE_MAX may pass over
a NaN (x86's ``minps`` and ``maxps`` do); the sum never does, nor over an infinity. Small activations of one shape are
stacked and reduced together, as an operator costs more than their values; large ones are not, as a stack keeps them all
in memory.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from tflite_ptq.model.adding import Adding
from tflite_ptq.model.operator_block import OperatorBlock
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
    scalars = [added.reduced_where_made(tensor, range(ranks[tensor])) for tensor in alone]
    rows = [added.reduced(added.concatenation(stack), range(1, ranks[stack[0]])) for stack in stacks]
    vectors = []
    for kind in range(len(_KINDS)):
        if alone:
            vectors.append(added.pack([outputs[kind] for outputs in scalars]))
        vectors += [outputs[kind] for outputs in rows]
    output = added.concatenation(vectors)
    added.place()
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
    """Operators added to the graph, with one float32 output each, whose index the methods return: at its end, but for
    those of ``reduced_where_made``."""

    def __init__(self, model: Any) -> None:
        super().__init__(model)
        self._own, self.graph.operators = self.graph.operators, []
        self._behind: dict[int, list[Any]] = {}
        """Operators by the tensor that they look at."""
        self._reductions = OperatorBlock(schema.BuiltinOptions.ReducerOptions, Shared(schema.ReducerOptionsT()))
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

    def reduced(self, tensor: int, axes: range) -> list[int]:
        """Of each kind, over ``axes``, which are gone then."""
        return self._reduced(tensor, axes, self.graph.operators)

    def reduced_where_made(self, tensor: int, axes: range) -> list[int]:
        """The same, behind the operator that makes ``tensor``: it is still in the caches, and need not be kept."""
        return self._reduced(tensor, axes, self._behind.setdefault(tensor, []))

    def _reduced(self, tensor: int, axes: range, operators: list[Any]) -> list[int]:
        constant = self.constant(np.array(axes, np.int32))
        outputs = [self.tensor(self._output) for _ in _KINDS]
        operators += [
            self._reductions.add(self.code(kind), tensor, constant, output)
            for kind, output in zip(_KINDS, outputs, strict=True)
        ]
        return outputs

    def place(self) -> None:
        """Puts all operators in their order."""
        order = [operator for tensor in self.graph.inputs for operator in self._behind.pop(int(tensor), ())]
        for own in self._own:
            order.append(own)
            order += [operator for tensor in own.outputs for operator in self._behind.pop(int(tensor), ())]
        self.graph.operators = order + self.graph.operators

    def _append(self, builtin: int, inputs: list[int], kind: int, options: object) -> int:
        output = self.tensor(self._output)
        self.graph.operators.append(self.operator(builtin, inputs, output, kind, options))
        return output
