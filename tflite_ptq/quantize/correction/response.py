"""The mean output of a linear layer for a mean input (pure numpy).

A linear layer without its bias is y = W * x. Its mean over samples and output positions is W applied to the mean
input *map* E[x], averaged over the positions: E is linear, and zero padding at SAME borders is part of the sum, so the
borders are exact. (The mean per channel alone would be wrong wherever a kernel overlaps the border.)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Kind = Literal["CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "TRANSPOSE_CONV"]
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Geometry:
    """How a kernel moves. ``same``: SAME padding (else VALID); ``output`` is the (height, width) of the output."""

    stride: tuple[int, int] = (1, 1)
    dilation: tuple[int, int] = (1, 1)
    same: bool = False
    output: tuple[int, int] = (1, 1)

    def padding(self, axis: int, size: int, kernel: int) -> tuple[int, int]:
        """Zeros before and behind an input of ``size`` along ``axis`` (0: height): half of what SAME needs each, of an
        odd number the larger half behind (``ComputePaddingWithOffset`` of TFLite's padding.h)."""
        if not self.same:
            return 0, 0
        reach = (kernel - 1) * self.dilation[axis] + 1
        total = max(0, (self.output[axis] - 1) * self.stride[axis] + reach - size)
        return total // 2, total - total // 2


def mean_response(kind: Kind, weights: Floats, mean_input: Floats, geometry: Geometry) -> Floats:
    """Mean over output positions of the layer's output without its bias, one value an output channel, shape (O,).

    ``weights`` in TFLite's layout: CONV_2D and TRANSPOSE_CONV (O, kh, kw, I); DEPTHWISE_CONV_2D (1, kh, kw, O);
    FULLY_CONNECTED (O, I). ``mean_input``: the mean input map without the batch, (H, W, C), or (..., I).
    """
    if kind == "FULLY_CONNECTED":
        mean: Floats = mean_input.reshape(-1, weights.shape[1]).mean(axis=0)
        return weights @ mean
    kernel = (weights.shape[1], weights.shape[2])
    taps = _scattered(mean_input, kernel, geometry) if kind == "TRANSPOSE_CONV" else _taps(mean_input, kernel, geometry)
    if kind == "DEPTHWISE_CONV_2D":
        multiplier = weights.shape[3] // taps.shape[2]
        return np.asarray((weights[0] * np.repeat(taps, multiplier, axis=2)).sum(axis=(0, 1)))
    groups = taps.shape[2] // weights.shape[3]
    grouped = weights.reshape(groups, -1, *weights.shape[1:])
    inputs = taps.reshape(*kernel, groups, -1)
    return np.asarray(np.einsum("goyxc,yxgc->go", grouped, inputs)).reshape(-1)


def _taps(x: Floats, kernel: tuple[int, int], geometry: Geometry) -> Floats:
    """Mean over output positions of the input under each tap of the kernel, zero outside; (kh, kw, C)."""
    (out_h, out_w), (step_h, step_w) = geometry.output, geometry.stride
    (top, _), (left, _) = (geometry.padding(axis, x.shape[axis], kernel[axis]) for axis in (0, 1))
    taps = np.zeros((*kernel, x.shape[2]))
    for i in range(kernel[0]):
        rows = np.arange(out_h) * step_h + i * geometry.dilation[0] - top
        inside = x[rows[(rows >= 0) & (rows < x.shape[0])]].sum(axis=0)
        for j in range(kernel[1]):
            columns = np.arange(out_w) * step_w + j * geometry.dilation[1] - left
            taps[i, j] = inside[columns[(columns >= 0) & (columns < x.shape[1])]].sum(axis=0)
    return taps / (out_h * out_w)


def _scattered(x: Floats, kernel: tuple[int, int], geometry: Geometry) -> Floats:
    """The same for a transposed convolution: input pixel p reaches output p * stride + tap - padding where inside."""
    (out_h, out_w), (step_h, step_w) = geometry.output, geometry.stride
    # The forward convolution whose transpose this is maps the output's size to the input's (tflite padding.h).
    forward = Geometry(geometry.stride, (1, 1), geometry.same, (x.shape[0], x.shape[1]))
    (top, _), (left, _) = (forward.padding(axis, geometry.output[axis], kernel[axis]) for axis in (0, 1))
    taps = np.zeros((*kernel, x.shape[2]))
    for i in range(kernel[0]):
        rows = np.arange(x.shape[0]) * step_h + i - top
        inside = x[(rows >= 0) & (rows < out_h)].sum(axis=0)
        for j in range(kernel[1]):
            columns = np.arange(x.shape[1]) * step_w + j - left
            taps[i, j] = inside[(columns >= 0) & (columns < out_w)].sum(axis=0)
    return taps / (out_h * out_w)
