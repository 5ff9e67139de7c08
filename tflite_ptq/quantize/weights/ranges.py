"""The scale of quantized weights: from their largest value, or where clipping the largest costs less than it wins.

Weights are symmetric (TFLite 8-bit quantization specification): real = scale * code, code in -127..127, one scale an
output channel or one for the tensor.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
WeightRange = Literal["max", "mse"]

LARGEST_CODE = 127
_FRACTIONS = np.linspace(1.0, 0.5, 80)


def scales_for(weights: Floats, axis: int | None, method: WeightRange) -> Floats:
    """One scale a channel along ``axis``, shape (channels,), or one for the tensor where ``axis`` is None, shape (1,).

    ``max``: max|w| / 127, as TFLiteConverter does. ``mse``: the clipping range r of 80 between 0.5 and 1.0 of max|w|
    that minimises sum((w - s * clip(round(w / s), -127, 127))^2), s = r / 127; of equals, the widest. A channel of
    zeros has the scale 0.
    """
    channels = _channels(weights, axis)
    largest = np.abs(channels).max(axis=1) / LARGEST_CODE
    if method == "max":
        return np.asarray(largest)
    best, least = largest, np.full(len(channels), np.inf)
    for fraction in _FRACTIONS:
        scale = fraction * largest
        error = np.square(channels - scale[:, None] * codes_of(channels, scale[:, None])).sum(axis=1)
        best = np.where(error < least, scale, best)
        least = np.minimum(error, least)
    return np.asarray(best)


def codes_of(weights: Floats, scales: Floats) -> Floats:
    """clip(round(w / s), -127, 127) as float64; ``scales`` broadcast to the weights. 0 where the scale is 0."""
    steps = np.divide(weights, scales, out=np.zeros_like(weights), where=np.broadcast_to(scales > 0, weights.shape))
    codes: Floats = np.clip(np.rint(steps), -LARGEST_CODE, LARGEST_CODE)
    return codes


def along(scales: Floats, dimensions: int, axis: int | None) -> Floats:
    """``scales`` shaped to broadcast along ``axis`` of an array with that many dimensions."""
    shape = [1] * dimensions
    if axis is not None:
        shape[axis] = -1
    return scales.reshape(shape)


def _channels(weights: Floats, axis: int | None) -> Floats:
    """(channels, weights of one channel); a single row where ``axis`` is None."""
    return weights.reshape(1, -1) if axis is None else np.moveaxis(weights, axis, 0).reshape(weights.shape[axis], -1)
