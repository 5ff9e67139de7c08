"""Affine quantization: real = scale * (quantized - zero_point). Pure arithmetic on arrays.

Ties round to even, as LiteRT's QUANTIZE kernels do, with XNNPACK and without (tests/test_affine.py holds both to it;
the formula is ``AffineQuantize`` of tensorflow/lite/kernels/internal/reference/quantize.h, whose ``TfLiteRound`` was
``std::round``, ties away from zero, in older releases). ``Dequantize`` is ``scale * (quantized - zero_point)``
(reference/dequantize.h).
"""

from __future__ import annotations

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
    target = np.dtype(dtype)
    # float32 cannot hold every int32; it holds every sum of the narrower dtypes.
    work: type[np.floating[Any]] = np.float64 if target.itemsize >= 4 else np.float32
    quantized, limits = np.empty(real.shape, target), np.iinfo(target.name)
    step, offset = work(scale), work(zero_point)
    flat, into = real.reshape(-1), quantized.reshape(-1)
    piece = _PIECE if flat.size > _FEW * _PIECE else max(1, flat.size)
    scratch = np.empty(piece, work)
    for start in range(0, flat.size, piece):
        part = flat[start : start + piece].astype(work, copy=False)
        codes = scratch[: part.size]
        np.divide(part, step, out=codes)
        np.rint(codes, out=codes)
        np.add(codes, offset, out=codes)
        np.clip(codes, limits.min, limits.max, out=codes)
        np.copyto(into[start : start + piece], codes, casting="unsafe")
    return quantized


def dequantize(quantized: Array, scale: float, zero_point: int) -> NDArray[np.float32]:
    """``scale * (quantized - zero_point)`` as float32, of the shape of ``quantized``."""
    if quantized.dtype.itemsize >= 4:
        wide: NDArray[np.float64] = quantized.astype(np.float64)
        return ((wide - zero_point) * scale).astype(np.float32)
    # Exact up to the last rounding: the difference needs 17 bits, float32 holds 24.
    narrow: NDArray[np.float32] = quantized.astype(np.float32)
    return (narrow - np.float32(zero_point)) * np.float32(scale)
