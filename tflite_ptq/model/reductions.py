"""A float model that tells the least and the largest value and the sum of its activations instead of its outputs.

REDUCE_MIN, REDUCE_MAX and SUM over all axes run where the activation was made, vectorised by XNNPACK and without
Python: looking at a small activation from Python costs more than computing it. REDUCE_MIN and REDUCE_MAX may pass over
a NaN (x86's ``minps`` and ``maxps`` do); the sum never does, nor over an infinity.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

MOST_AXES = 6
"""XNNPACK's limit; LiteRT's own kernels go little further."""


def reducible(shape: Sequence[int]) -> bool:
    """Whether an activation of that shape can be reduced: not a scalar, not empty, not of too many axes."""
    return 0 < len(shape) <= MOST_AXES and all(shape)


def with_reductions(model: Any, tensors: Sequence[int]) -> tuple[Any, int]:
    """A schema ``ModelT`` of the same inputs, and its one output: float32 ``(3 * T,)``, minima, maxima, then sums.

    ``model`` is left as it is, and shares what is not changed. ``tensors``: reducible float32 tensors of the first
    subgraph, at least one.
    """
    changed, graph = copy.copy(model), copy.copy(model.subgraphs[0])
    changed.subgraphs, changed.signatureDefs = [graph], None
    changed.buffers, changed.operatorCodes = list(model.buffers), list(model.operatorCodes)
    graph.tensors, graph.operators = list(graph.tensors), list(graph.operators)
    axes = {rank: _axes(changed, graph, rank) for rank in {len(graph.tensors[tensor].shape) for tensor in tensors}}
    found = []
    for kind in (schema.BuiltinOperator.REDUCE_MIN, schema.BuiltinOperator.REDUCE_MAX, schema.BuiltinOperator.SUM):
        code = _code(changed, kind)
        for tensor in tensors:
            inputs = [tensor, axes[len(graph.tensors[tensor].shape)]]
            found.append(_append(graph, code, inputs, (), schema.BuiltinOptions.ReducerOptions, _REDUCER))
    packing = schema.PackOptionsT()
    packing.valuesCount = len(found)
    code = _code(changed, schema.BuiltinOperator.PACK)
    output = _append(graph, code, found, (len(found),), schema.BuiltinOptions.PackOptions, packing)
    graph.outputs = [output]
    return changed, output


_REDUCER = schema.ReducerOptionsT()  # keepDims is False


def _tensor(graph: Any, shape: Sequence[int], dtype: int, buffer: int) -> int:
    tensor = schema.TensorT()
    tensor.shape, tensor.type, tensor.buffer = list(shape), dtype, buffer
    graph.tensors.append(tensor)
    return len(graph.tensors) - 1


def _axes(model: Any, graph: Any, rank: int) -> int:
    buffer = schema.BufferT()
    buffer.data = np.arange(rank, dtype=np.int32).view(np.uint8)
    model.buffers.append(buffer)
    return _tensor(graph, (rank,), schema.TensorType.INT32, len(model.buffers) - 1)


def _code(model: Any, operator: int) -> int:
    code = schema.OperatorCodeT()
    code.builtinCode, code.deprecatedBuiltinCode, code.version = operator, operator, 1
    model.operatorCodes.append(code)
    return len(model.operatorCodes) - 1


def _append(graph: Any, code: int, inputs: list[int], shape: Sequence[int], kind: int, options: object) -> int:
    """A new operator with one float32 output, whose index it is."""
    operator, output = schema.OperatorT(), _tensor(graph, shape, schema.TensorType.FLOAT32, 0)
    operator.opcodeIndex, operator.inputs, operator.outputs = code, inputs, [output]
    operator.builtinOptionsType, operator.builtinOptions = kind, options
    graph.operators.append(operator)
    return output
