"""Constants that several readers share, given to each of them alone: for a quantizer that changes them in place.

A bias is stored with the scale of one layer's input times that of its weights, so layers that share a bias but not
their input's scale would all but one compute with a wrong one. And a buffer that a float and an integer tensor share,
as a zero of either does, would be shortened for both.
"""

from __future__ import annotations

import copy
from collections import Counter
from typing import Any

import numpy as np

from tflite_ptq.model.flatbuffer import OPERATOR_NAMES

_BIAS = {"CONV_2D": 2, "DEPTHWISE_CONV_2D": 2, "FULLY_CONNECTED": 2, "TRANSPOSE_CONV": 3}
"""Where a layer's bias is among its inputs."""


def with_own_constants(model: Any) -> Any | None:
    """A schema ``ModelT`` that computes the same, with biases of their own for the layers of the first subgraph, and
    no buffer that holds tensors of several types; ``None`` where there is nothing to separate.

    ``model`` is left as it is, and shares what is not changed.
    """
    separated = copy.copy(model)
    graph = copy.copy(model.subgraphs[0])
    separated.subgraphs, separated.buffers = [graph, *model.subgraphs[1:]], list(model.buffers)
    graph.tensors, graph.operators = list(graph.tensors), list(graph.operators)
    _separate_biases(separated, graph)
    _separate_types(separated, graph)
    return separated if len(separated.buffers) > len(model.buffers) else None


def _separate_biases(model: Any, graph: Any) -> None:
    readers = Counter(int(i) for operator in graph.operators for i in operator.inputs)
    for position, operator in enumerate(graph.operators):
        code = model.operatorCodes[operator.opcodeIndex]
        place = _BIAS.get(OPERATOR_NAMES.get(max(code.builtinCode, code.deprecatedBuiltinCode), ""))
        if place is None or len(operator.inputs) <= place or readers[int(operator.inputs[place])] < 2:
            continue
        bias = int(operator.inputs[place])
        data = model.buffers[graph.tensors[bias].buffer].data if bias >= 0 else None
        if data is None or not np.any(data):  # zeros are zeros in every scale
            continue
        readers[bias] -= 1
        own = copy.copy(graph.tensors[bias])
        own.buffer = _copied(model, own.buffer)
        graph.tensors.append(own)
        mine = copy.copy(operator)
        mine.inputs = [
            *map(int, operator.inputs[:place]),
            len(graph.tensors) - 1,
            *map(int, operator.inputs[place + 1 :]),
        ]
        graph.operators[position] = mine


def _separate_types(model: Any, graph: Any) -> None:
    first: dict[int, int] = {}
    for index, tensor in enumerate(graph.tensors):
        if model.buffers[tensor.buffer].data is None or first.setdefault(tensor.buffer, tensor.type) == tensor.type:
            continue
        own = copy.copy(tensor)
        own.buffer = _copied(model, own.buffer)
        graph.tensors[index] = own


def _copied(model: Any, buffer: int) -> int:
    own = copy.copy(model.buffers[buffer])
    own.data = np.array(own.data, np.uint8)
    model.buffers.append(own)
    return len(model.buffers) - 1
