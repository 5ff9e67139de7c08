"""Small float32 .tflite models of linear layers, with their weights, made without a converter."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from numpy.typing import NDArray
from tiny_tflite import File, Graph, Op, T

from tflite_ptq.model.editing import Editable

NONE, RELU, RELU6 = 0, 1, 3
SAME, VALID = 0, 1


@dataclass
class Conv:
    """CONV_2D, or DEPTHWISE_CONV_2D for weights (1, kh, kw, O)."""

    weights: NDArray[np.float32]
    bias: NDArray[np.float32] | None
    output: tuple[int, ...]
    activation: int = NONE
    padding: int = VALID
    stride: tuple[int, int] = (1, 1)
    dilation: tuple[int, int] = (1, 1)
    multiplier: int | None = None


@dataclass
class Dense:
    weights: NDArray[np.float32]
    bias: NDArray[np.float32] | None
    output: tuple[int, ...]
    activation: int = NONE


@dataclass
class Plain:
    """An operator without constants and options, such as RELU or LOGISTIC."""

    name: str


@dataclass
class Chain:
    """Layers one behind the other; tensors are called x, t0, t1, ...; ``outputs`` adds some to the last."""

    shape: tuple[int, ...]
    layers: list[Conv | Dense | Plain]
    outputs: list[str] = field(default_factory=list)
    share_weights: dict[int, int] = field(default_factory=dict)

    def build(self, folder: Path) -> Editable:
        tensors, ops = [T("x", shape=self.shape)], []
        shape, last = self.shape, "x"
        for i, layer in enumerate(self.layers):
            inputs: list[str | None] = [last]
            if not isinstance(layer, Plain):
                weights = f"w{self.share_weights.get(i, i)}"
                if i not in self.share_weights:
                    tensors.append(T(weights, shape=layer.weights.shape, data=layer.weights.tobytes()))
                inputs.append(weights)
                bias = layer.bias
                if bias is None and isinstance(layer, Conv):  # LiteRT's convolutions refuse to run without one
                    bias = np.zeros(layer.output[-1], np.float32)
                if bias is not None:
                    tensors.append(T(f"b{i}", shape=bias.shape, data=bias.tobytes()))
                    inputs.append(f"b{i}")
                shape = layer.output
            last = f"t{i}"
            tensors.append(T(last, shape=shape))
            ops.append(Op(_operator(layer), inputs, [last]))
        outputs = [*dict.fromkeys([last, *self.outputs])]
        path = File([Graph(tensors, ["x"], outputs, ops)]).write(folder / "chain.tflite")
        model: Any = Editable(path.read_bytes())
        for operator, layer in zip(model._model.subgraphs[0].operators, self.layers, strict=True):
            _set_options(operator, layer)
        return Editable(model.to_bytes())


def _operator(layer: Conv | Dense | Plain) -> str:
    if isinstance(layer, Plain):
        return layer.name
    if isinstance(layer, Dense):
        return "FULLY_CONNECTED"
    return "CONV_2D" if layer.multiplier is None else "DEPTHWISE_CONV_2D"


def _set_options(operator: Any, layer: Conv | Dense | Plain) -> None:
    options: Any
    if isinstance(layer, Dense):
        options, kind = schema.FullyConnectedOptionsT(), schema.BuiltinOptions.FullyConnectedOptions
    elif isinstance(layer, Conv):
        if layer.multiplier is None:
            options, kind = schema.Conv2DOptionsT(), schema.BuiltinOptions.Conv2DOptions
        else:
            options, kind = schema.DepthwiseConv2DOptionsT(), schema.BuiltinOptions.DepthwiseConv2DOptions
            options.depthMultiplier = layer.multiplier
        options.padding = layer.padding
        options.strideH, options.strideW = layer.stride
        options.dilationHFactor, options.dilationWFactor = layer.dilation
    else:
        return
    options.fusedActivationFunction = layer.activation
    operator.builtinOptions, operator.builtinOptionsType = options, kind


def run(model: Editable, x: NDArray[np.float32], position: int = 0) -> NDArray[np.float32]:
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_content=model.to_bytes())
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], x)
    interpreter.invoke()
    return np.array(interpreter.get_tensor(interpreter.get_output_details()[position]["index"]))


def uneven_pair(folder: Path) -> Path:
    """A file of two dense layers, the first's channels a thousand times apart, the second's columns as much the other
    way."""
    rng, apart = np.random.default_rng(4), np.geomspace(0.03, 30, 8)[:, np.newaxis]
    first, second = rng.normal(size=(8, 6)) * apart, rng.normal(size=(3, 8)) / apart.T
    layers = [
        Dense(first.astype(np.float32), np.zeros(8, np.float32), (1, 8), RELU),
        Dense(second.astype(np.float32), np.zeros(3, np.float32), (1, 3)),
    ]
    path = folder / "uneven.tflite"
    path.write_bytes(Chain((1, 6), layers).build(folder).to_bytes())
    return path
