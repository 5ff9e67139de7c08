"""The integer counterpart of a ``float_chain.Chain``, quantized by numpy as TensorFlow's 8-bit specification says.

real = scale * (q - zero_point). Weights: int8, one scale an output channel, zero point 0. Bias: scale of the input
times scale of the weights. Activations: ``int8`` (int32 bias), ``int16`` (zero point 0, int64 bias), or ``float32``
(dynamic range: only weights are integers, the bias is float).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from float_chain import Chain, Conv, Dense, _operator, _set_options
from numpy.typing import NDArray
from tiny_tflite import File, Graph, Op, T

from tflite_ptq.model.editing import Editable

Array = NDArray[Any]
Range = tuple[float, float]
Rounding = Callable[[Array], Array]


@dataclass(frozen=True)
class Activation:
    scale: float
    zero_point: int


def activation(limits: Range, dtype: str) -> Activation:
    """int8: 255 steps over the range with zero; int16: 32767 steps to the larger side."""
    low, high = min(limits[0], 0.0), max(limits[1], 0.0)
    if dtype == "int16":
        return Activation(float(np.float32(max(-low, high) / 32767)), 0)
    scale = float(np.float32((high - low) / 255))
    return Activation(scale, int(np.clip(np.rint(-128 - low / scale), -128, 127)))


def weight_codes(layer: Conv | Dense, rounding: Rounding) -> tuple[Array, Array]:
    """(int8 codes, scale of each output channel)."""
    axis = 3 if isinstance(layer, Conv) and layer.multiplier is not None else 0
    others = tuple(i for i in range(layer.weights.ndim) if i != axis)
    scale = np.abs(layer.weights).max(axis=others).astype(np.float32) / np.float32(127)
    shape = [1] * layer.weights.ndim
    shape[axis] = -1
    return np.clip(rounding(layer.weights / scale.reshape(shape)), -127, 127).astype(np.int8), scale


def quantized(
    chain: Chain, ranges: Sequence[Range], folder: Path, dtype: str = "int8", rounding: Rounding = np.rint
) -> Editable:
    """``ranges``: of x, t0, t1, ...; every layer of the chain must be a Conv or a Dense."""
    io = [activation(limits, dtype) for limits in ranges] if dtype != "float32" else None
    tensors, ops, last = [_activation("x", chain.shape, dtype, io, 0)], [], "x"
    for i, layer in enumerate(chain.layers):
        assert isinstance(layer, (Conv, Dense))
        codes, scale = weight_codes(layer, rounding)
        axis = 3 if isinstance(layer, Conv) and layer.multiplier is not None else 0
        zeros = (0,) * len(scale)
        tensors.append(T(f"w{i}", "INT8", codes.shape, codes.tobytes(), scale.tolist(), zeros, axis))
        inputs: list[str | None] = [last, f"w{i}"]
        bias = layer.bias
        if bias is None and isinstance(layer, Conv):
            bias = np.zeros(layer.output[-1], np.float32)
        if bias is not None:
            inputs.append(f"b{i}")
            if io is None:
                tensors.append(T(f"b{i}", shape=bias.shape, data=bias.tobytes()))
            else:
                real = scale.astype(np.float64) * io[i].scale
                kind = "int64" if dtype == "int16" else "int32"
                stored = np.rint(bias / real).astype(kind)
                tensors.append(T(f"b{i}", kind.upper(), bias.shape, stored.tobytes(), real.tolist(), zeros))
        last = f"t{i}"
        tensors.append(_activation(last, layer.output, dtype, io, i + 1))
        ops.append(Op(_operator(layer), inputs, [last]))
    path = File([Graph(tensors, ["x"], [last], ops)]).write(folder / "quantized.tflite")
    model: Any = Editable(path.read_bytes())
    for operator, layer in zip(model._model.subgraphs[0].operators, chain.layers, strict=True):
        _set_options(operator, layer)
    return Editable(model.to_bytes())


def _activation(name: str, shape: Sequence[int], dtype: str, io: list[Activation] | None, position: int) -> T:
    if io is None:
        return T(name, shape=shape)
    return T(name, dtype.upper(), shape, None, (io[position].scale,), (io[position].zero_point,))


def multiplier(real: float) -> tuple[int, int]:
    """(31-bit mantissa, exponent): real = mantissa / 2^31 * 2^exponent (QuantizeMultiplier)."""
    mantissa, exponent = np.frexp(real)
    fixed = int(np.floor(mantissa * (1 << 31) + 0.5))
    return (fixed // 2, int(exponent) + 1) if fixed == 1 << 31 else (fixed, int(exponent))


def rescaled(accumulator: Array, real: float) -> Array:
    """accumulator * real in fixed point: a rounding doubling high multiplication, then a rounding shift
    (MultiplyByQuantizedMultiplier of TFLite's kernels/internal/common.h, gemmlowp's double rounding)."""
    mantissa, exponent = multiplier(real)
    left, right = max(exponent, 0), max(-exponent, 0)
    product = (accumulator.astype(np.int64) << left) * mantissa
    nudge = np.where(product >= 0, 1 << 30, 1 - (1 << 30))
    high = np.sign(product + nudge) * (np.abs(product + nudge) >> 31)
    mask = (1 << right) - 1
    remainder = high & mask
    return (high >> right) + (remainder > (mask >> 1) + (high < 0))


def layer_in_integers(layer: Conv | Dense, x: Array, fed: Activation, out: Activation) -> Array:
    """One layer of an int8 model on stored integers (1, ...); int32 accumulators, written with plain loops."""
    codes, scale = weight_codes(layer, np.rint)
    bias = np.zeros(len(scale)) if layer.bias is None else layer.bias
    real = scale.astype(np.float64) * fed.scale
    total = accumulated(layer, codes.astype(np.int64), x.astype(np.int64) - fed.zero_point)
    total = total + np.rint(bias / real).astype(np.int64)
    assert np.abs(total).max() < 1 << 31
    columns = [rescaled(total[..., o], float(real[o] / out.scale)) for o in range(len(scale))]
    low, high = -128, 127
    if layer.activation in (1, 3):
        low = max(low, out.zero_point)
    if layer.activation == 3:
        high = min(high, int(np.rint(6 / out.scale)) + out.zero_point)
    return np.clip(np.stack(columns, axis=-1) + out.zero_point, low, high).astype(np.int8)


def accumulated(layer: Conv | Dense, weights: Array, x: Array) -> Array:
    """sum of weights * x by the definition, in the arrays' own dtype; the layer's output shape. Zeros outside."""
    if isinstance(layer, Dense):
        return np.asarray(x @ weights.T)
    height, width, stride, dilation = *x.shape[1:3], layer.stride, layer.dilation
    kernel = weights.shape[1:3]
    reach = [(kernel[a] - 1) * dilation[a] + 1 for a in (0, 1)]
    if layer.padding == 0:  # SAME: as many outputs as steps fit, the zeros split, the odd one at the end
        count = [-(-size // stride[a]) for a, size in enumerate((height, width))]
        before = [max(0, (count[a] - 1) * stride[a] + reach[a] - size) // 2 for a, size in enumerate((height, width))]
    else:
        count, before = [(size - reach[a]) // stride[a] + 1 for a, size in enumerate((height, width))], [0, 0]
    channels = layer.output[-1]
    found = np.zeros((1, *count, channels), np.result_type(weights, x))
    depth = x.shape[3]
    group = weights.shape[3]  # input channels of one group
    for r, c, o, i, j in np.ndindex(*count, channels, *kernel):
        row, column = r * stride[0] + i * dilation[0] - before[0], c * stride[1] + j * dilation[1] - before[1]
        if not (0 <= row < height and 0 <= column < width):
            continue
        if layer.multiplier is not None:
            found[0, r, c, o] += weights[0, i, j, o] * x[0, row, column, o // layer.multiplier]
        else:
            first = o // (channels // (depth // group)) * group
            found[0, r, c, o] += weights[o, i, j] @ x[0, row, column, first : first + group]
    return found
