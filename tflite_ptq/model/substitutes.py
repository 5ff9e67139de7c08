"""Float operators without an integer kernel, written with operators that have one.

The same arithmetic, so the float model's outputs change by rounding alone, and a quantizer makes integers of all of it.
Keras's LayerNormalization holds NEG and SQUARED_DIFFERENCE, its hard swish is HARD_SWISH.

============================  ===============================
``NEG(x)``                    ``x * -1``
``SQUARED_DIFFERENCE(x, y)``  ``d * d`` of ``d = x - y``
``HARD_SWISH(x)``             ``x * (relu6(x + 3) * (1 / 6))``
============================  ===============================
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from tflite_ptq.model.adding import Adding

_NARROWEST = 1e-6
"""Width of a range whose values are all the same."""


def with_substitutes(model: Any, chosen: Mapping[int, str]) -> Any:
    """A schema ``ModelT`` that computes the same, with float32 operators of the first subgraph, by position, written
    with others.

    What they read and write carries its range (``quantization.min`` and ``.max``) and stays; a value in between gets
    the range that follows from theirs.
    ``model`` is left as it is, and shares what is not changed.
    """
    changed, graph = copy.copy(model), copy.copy(model.subgraphs[0])
    changed.subgraphs = [graph, *model.subgraphs[1:]]
    changed.buffers, changed.operatorCodes = list(model.buffers), list(model.operatorCodes)
    graph.tensors = list(graph.tensors)
    writing = _Writing(changed, graph)
    graph.operators = [
        substitute
        for position, operator in enumerate(graph.operators)
        for substitute in (_SUBSTITUTES[chosen[position]](writing, operator) if position in chosen else (operator,))
    ]
    _forget_unused(changed)
    return changed


def _forget_unused(model: Any) -> None:
    """The quantizer's interpreter asks a float kernel for every kind of operator that is named, used or not."""
    used = {operator.opcodeIndex for graph in model.subgraphs for operator in graph.operators}
    some = model.operatorCodes[min(used)]
    model.operatorCodes = [code if i in used else some for i, code in enumerate(model.operatorCodes)]


class _Writing:
    """Element by element operators of a graph, and the tensors between them."""

    def __init__(self, model: Any, graph: Any) -> None:
        self._adding, self._graph = Adding(model, graph), graph

    def constant(self, value: float) -> int:
        return self._adding.constant(np.array(value, np.float32))

    def limits(self, tensor: int) -> tuple[float, float]:
        found = self._graph.tensors[tensor].quantization
        return float(found.min[0]), float(found.max[0])

    def between(self, output: int, part: str, low: float, high: float) -> int:
        """A tensor of the shape of ``output`` with values of ``low`` to ``high``."""
        whole = self._graph.tensors[output]
        tensor, parameters = schema.TensorT(), schema.QuantizationParametersT()
        tensor.name = (whole.name or b"") + f";{part}".encode()
        tensor.shape, tensor.shapeSignature, tensor.hasRank = whole.shape, whole.shapeSignature, whole.hasRank
        parameters.min, parameters.max = [low], [max(high, low + _NARROWEST)]
        tensor.quantization = parameters
        return self._adding.tensor(tensor)

    def add(self, x: int, y: int, output: int, activation: int) -> Any:
        options = schema.AddOptionsT()
        options.fusedActivationFunction = activation
        return self._adding.operator(
            schema.BuiltinOperator.ADD, [x, y], output, schema.BuiltinOptions.AddOptions, options
        )

    def sub(self, x: int, y: int, output: int) -> Any:
        options = schema.SubOptionsT()
        return self._adding.operator(
            schema.BuiltinOperator.SUB, [x, y], output, schema.BuiltinOptions.SubOptions, options
        )

    def mul(self, x: int, y: int, output: int) -> Any:
        options = schema.MulOptionsT()
        return self._adding.operator(
            schema.BuiltinOperator.MUL, [x, y], output, schema.BuiltinOptions.MulOptions, options
        )


def _neg(writing: _Writing, operator: Any) -> list[Any]:
    return [writing.mul(int(operator.inputs[0]), writing.constant(-1), int(operator.outputs[0]))]


def _squared_difference(writing: _Writing, operator: Any) -> list[Any]:
    x, y = (int(i) for i in operator.inputs)
    output = int(operator.outputs[0])
    most = math.sqrt(max(writing.limits(output)[1], 0))
    difference = writing.between(output, "difference", -most, most)
    return [writing.sub(x, y, difference), writing.mul(difference, difference, output)]


def _hard_swish(writing: _Writing, operator: Any) -> list[Any]:
    x, output = int(operator.inputs[0]), int(operator.outputs[0])
    low, high = (min(max(limit + 3, 0), 6) for limit in writing.limits(x))
    gate, sixth = writing.between(output, "relu6", low, high), writing.between(output, "gate", low / 6, high / 6)
    return [
        writing.add(x, writing.constant(3), gate, schema.ActivationFunctionType.RELU6),
        writing.mul(gate, writing.constant(1 / 6), sixth),
        writing.mul(x, sixth, output),
    ]


_SUBSTITUTES: dict[str, Callable[[_Writing, Any], list[Any]]] = {
    "NEG": _neg,
    "SQUARED_DIFFERENCE": _squared_difference,
    "HARD_SWISH": _hard_swish,
}
