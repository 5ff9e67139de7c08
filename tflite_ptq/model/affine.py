"""Affine quantization: real = scale * (quantized - zero_point). Pure arithmetic on arrays.

Ties round to even, as LiteRT's QUANTIZE kernels do, with XNNPACK and without (tests/test_affine.py holds both to it;
the formula is ``AffineQuantize`` of tensorflow/lite/kernels/internal/reference/quantize.h, whose ``TfLiteRound`` was
``std::round``, ties away from zero, in older releases). ``Dequantize`` is ``scale * (quantized - zero_point)``
(reference/dequantize.h).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

Array = NDArray[np.generic]

_PIECE = 1 << 16  # values worked on at once: they stay in the second-level cache from step to step
_FEW = 4  # pieces: so many lie in the cache anyway


def quantize(real: Array, scale: float, zero_point: int, dtype: DTypeLike) -> Array:
    """``clip(round(real / scale) + zero_point)`` in ``dtype`` (an integer dtype), of the shape of ``real``.

    ``real`` must be without NaN; infinity is clipped. ``scale`` is positive. int32 is computed in float64, the
    narrower dtypes in float32 as the kernels do.
    """
    return _quantize(real, np.asarray(scale, np.float64), np.asarray(zero_point, np.float64), np.dtype(dtype))


def dequantize(quantized: Array, scale: float, zero_point: int) -> NDArray[np.float32]:
    """``scale * (quantized - zero_point)`` as float32, of the shape of ``quantized``."""
    return _dequantize(quantized, np.asarray(scale, np.float64), np.asarray(zero_point, np.float64))


def quantize_per_channel(
    real: Array, scales: Sequence[float], zero_points: Sequence[int], quantized_dimension: int, dtype: DTypeLike
) -> Array:
    """As ``quantize`` with one scale and zero point for each index of axis ``quantized_dimension``.

    Raises ``ValueError`` where their number is not the length of that axis.
    """
    scale, zero_point = _along(real, scales, zero_points, quantized_dimension)
    return _quantize(real, scale, zero_point, np.dtype(dtype))


def dequantize_per_channel(
    quantized: Array, scales: Sequence[float], zero_points: Sequence[int], quantized_dimension: int
) -> NDArray[np.float32]:
    """As ``dequantize`` with one scale and zero point for each index of axis ``quantized_dimension``.

    Raises ``ValueError`` where their number is not the length of that axis.
    """
    scale, zero_point = _along(quantized, scales, zero_points, quantized_dimension)
    return _dequantize(quantized, scale, zero_point)


def _along(
    values: Array, scales: Sequence[float], zero_points: Sequence[int], axis: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    channels = values.shape[axis]
    if len(scales) != channels or len(zero_points) != channels:
        raise ValueError(
            f"{len(scales)} scales and {len(zero_points)} zero points for {channels} channels (axis {axis})"
        )
    # (C,) -> (1, ..., C, ..., 1)
    shape = [1] * values.ndim
    shape[axis] = channels
    return np.asarray(scales, np.float64).reshape(shape), np.asarray(zero_points, np.float64).reshape(shape)


def _quantize(real: Array, scale: Array, zero_point: Array, dtype: np.dtype[np.generic]) -> Array:
    # float32 cannot hold every int32; it holds every sum of the narrower dtypes.
    work: np.dtype[Any] = np.dtype(np.float64 if dtype.itemsize >= 4 else np.float32)
    quantized, limits = np.empty(real.shape, dtype), np.iinfo(dtype.name)
    scale, zero_point = scale.astype(work), zero_point.astype(work)

    def put(into: Array, values: Array, scratch: Array) -> None:
        np.divide(values.astype(work, copy=False), scale, out=scratch)
        np.rint(scratch, out=scratch)
        np.add(scratch, zero_point, out=scratch)
        np.clip(scratch, limits.min, limits.max, out=scratch)
        np.copyto(into, scratch, casting="unsafe")

    if scale.ndim:
        put(quantized, real, np.empty(real.shape, work))
        return quantized
    flat, into = real.reshape(-1), quantized.reshape(-1)
    piece = _PIECE if flat.size > _FEW * _PIECE else max(1, flat.size)
    scratch = np.empty(piece, work)
    for start in range(0, flat.size, piece):
        part = flat[start : start + piece]
        put(into[start : start + piece], part, scratch[: part.size])
    return quantized


def _dequantize(quantized: Array, scale: NDArray[np.float64], zero_point: NDArray[np.float64]) -> NDArray[np.float32]:
    if quantized.dtype.itemsize >= 4:
        wide: NDArray[np.float64] = quantized.astype(np.float64)
        return ((wide - zero_point) * scale).astype(np.float32)
    # Exact up to the last rounding: the difference needs 17 bits, float32 holds 24.
    narrow: NDArray[np.float32] = quantized.astype(np.float32)
    return (narrow - zero_point.astype(np.float32)) * scale.astype(np.float32)
