"""Float operators without an integer kernel that is right, written with operators that have one.

The same arithmetic, so the float model's outputs change by rounding alone, and a quantizer makes integers of all of it.
Keras's normalizations hold NEG (layer), SQUARE (group, RMS, unit) and SQUARED_DIFFERENCE.

============================  ==========================================
``NEG(x)``                    ``x * -1``
``SQUARE(x)``                 ``x * x``
``SQUARED_DIFFERENCE(x, y)``  ``d * d`` of ``d = x - y``
``HARD_SWISH(x)``             ``x * (relu6(x + 3) * (1 / 6))``
``ELU(x)``                    ``p + (exp(x - p) + -1)`` of ``p = relu(x)``
``MINIMUM(x, y)``             ``x - relu(x - y)``
``SUM(x)`` of n values        ``mean(x) * n``
============================  ==========================================
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from tflite_ptq.model.adding import Adding

Limits = tuple[float, float]

_NARROWEST = 1e-6
"""Width of a range whose values are all the same."""


def with_substitutes(model: Any, chosen: Mapping[int, str]) -> Any:
    """A schema ``ModelT`` that computes the same, with float32 operators of the first subgraph, by position, written
    with others.

    What they read and write carries its range (``quantization.min`` and ``.max``) and stays; a value in between gets
    the range that follows from theirs. ``model`` is left as it is, and shares what is not changed.
    """
    adding = Adding(model)
    writing = _Writing(adding)
    adding.graph.operators = [
        substitute
        for position, operator in enumerate(adding.graph.operators)
        for substitute in (
            _SUBSTITUTES[chosen[position]](writing, *map(int, operator.inputs), *map(int, operator.outputs))
            if position in chosen
            else (operator,)
        )
    ]
    _forget_unused(adding.model)
    return adding.model


def has_substitute(name: str, first: Any) -> bool:
    """Whether an operator that reads ``first`` can be written with others: how many values a SUM adds, the file has to
    tell, an open batch aside, which is run as 1."""
    signature = first.shapeSignature
    return name != "SUM" or signature is None or all(size >= 0 for size in signature[1:])


def _forget_unused(model: Any) -> None:
    """The quantizer's interpreter asks a float kernel for every kind of operator that is named, used or not."""
    used = {operator.opcodeIndex for graph in model.subgraphs for operator in graph.operators}
    some = model.operatorCodes[min(used)]
    model.operatorCodes = [code if i in used else some for i, code in enumerate(model.operatorCodes)]


class _Writing:
    """Element by element operators of a graph, and the tensors between them."""

    def __init__(self, adding: Adding) -> None:
        self._adding, self._graph = adding, adding.graph

    def constant(self, value: float) -> int:
        return self._adding.constant(np.array(value, np.float32))

    def limits(self, tensor: int) -> Limits:
        whole = self._graph.tensors[tensor]
        stored = self._adding.model.buffers[whole.buffer].data
        if stored is not None:
            values = np.asarray(stored, np.uint8).view(np.float32)
            return float(values.min()), float(values.max())
        return float(whole.quantization.min[0]), float(whole.quantization.max[0])

    def shape(self, tensor: int) -> tuple[int, ...]:
        found = self._graph.tensors[tensor].shape
        return () if found is None else tuple(map(int, found))

    def between(self, output: int, part: str, limits: Limits) -> int:
        """A tensor of the shape of ``output`` with values within ``limits``."""
        (low, high), whole = limits, self._graph.tensors[output]
        tensor, parameters = schema.TensorT(), schema.QuantizationParametersT()
        tensor.name = (whole.name or b"") + f";{part}".encode()
        tensor.shape, tensor.shapeSignature, tensor.hasRank = whole.shape, whole.shapeSignature, whole.hasRank
        parameters.min, parameters.max = [low], [max(high, low + _NARROWEST)]
        tensor.quantization = parameters
        return self._adding.tensor(tensor)

    def operator(self, name: str, *tensors: int) -> Any:
        """``tensors``: inputs, then the output."""
        *inputs, output = tensors
        kind = _OPTIONS.get(name, "")
        options = getattr(schema, f"{kind}T")() if kind else None
        union = getattr(schema.BuiltinOptions, kind or "NONE")
        return self._adding.operator(getattr(schema.BuiltinOperator, name), inputs, output, union, options)


_OPTIONS = {
    "ADD": "AddOptions",
    "SUB": "SubOptions",
    "MUL": "MulOptions",
    "EXP": "ExpOptions",
    "MEAN": "ReducerOptions",
}


def _clipped(limits: Limits, low: float, high: float) -> Limits:
    return min(max(limits[0], low), high), min(max(limits[1], low), high)


def _neg(writing: _Writing, x: int, output: int) -> list[Any]:
    return [writing.operator("MUL", x, writing.constant(-1), output)]


def _square(writing: _Writing, x: int, output: int) -> list[Any]:
    return [writing.operator("MUL", x, x, output)]


def _squared_difference(writing: _Writing, x: int, y: int, output: int) -> list[Any]:
    most = math.sqrt(max(writing.limits(output)[1], 0))
    difference = writing.between(output, "difference", (-most, most))
    return [writing.operator("SUB", x, y, difference), *_square(writing, difference, output)]


def _hard_swish(writing: _Writing, x: int, output: int) -> list[Any]:
    low, high = writing.limits(x)
    clipped = _clipped((low + 3, high + 3), 0, 6)
    relu6 = writing.between(output, "relu6", clipped)
    gate = writing.between(output, "gate", (clipped[0] / 6, clipped[1] / 6))
    add = writing.operator("ADD", x, writing.constant(3), relu6)
    add.builtinOptions.fusedActivationFunction = schema.ActivationFunctionType.RELU6
    return [
        add,
        writing.operator("MUL", relu6, writing.constant(1 / 6), gate),
        writing.operator("MUL", x, gate, output),
    ]


def _elu(writing: _Writing, x: int, output: int) -> list[Any]:
    limits = writing.limits(x)
    below = _clipped(limits, -math.inf, 0)
    grown = math.exp(below[0]), math.exp(below[1])
    positive = writing.between(output, "positive", _clipped(limits, 0, math.inf))
    negative, power = writing.between(output, "negative", below), writing.between(output, "exp", grown)
    rest = writing.between(output, "rest", (grown[0] - 1, grown[1] - 1))
    return [
        writing.operator("RELU", x, positive),
        # Not MINIMUM, whose input and output the quantizer gives one scale: that of x would lose what is above zero.
        writing.operator("SUB", x, positive, negative),
        writing.operator("EXP", negative, power),
        writing.operator("ADD", power, writing.constant(-1), rest),
        writing.operator("ADD", positive, rest, output),
    ]


def _minimum(writing: _Writing, x: int, y: int, output: int) -> list[Any]:
    gap = writing.between(output, "gap", (0, max(writing.limits(x)[1] - writing.limits(y)[0], 0)))
    above = writing.operator("SUB", x, y, gap)
    above.builtinOptions.fusedActivationFunction = schema.ActivationFunctionType.RELU
    return [above, writing.operator("SUB", x, gap, output)]


def _sum(writing: _Writing, x: int, axes: int, output: int) -> list[Any]:
    before, after = writing.shape(x), writing.shape(output)
    values = math.prod(before) / math.prod(after)
    low, high = writing.limits(output)
    mean = writing.between(output, "mean", (low / values, high / values))
    averaged = writing.operator("MEAN", x, axes, mean)
    averaged.builtinOptions.keepDims = len(before) == len(after)
    return [averaged, writing.operator("MUL", mean, writing.constant(values), output)]


_SUBSTITUTES: dict[str, Callable[..., list[Any]]] = {
    "NEG": _neg,
    "SQUARE": _square,
    "SQUARED_DIFFERENCE": _squared_difference,
    "HARD_SWISH": _hard_swish,
    "ELU": _elu,
    "MINIMUM": _minimum,
    "SUM": _sum,
}
