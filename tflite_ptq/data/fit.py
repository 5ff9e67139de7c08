"""Samples held against one model input: shape, dtype, finite values. Pure."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from tflite_ptq.data.bad_sample import BadSample
from tflite_ptq.data.stored import Array
from tflite_ptq.recipe.dataset import Format, ImageFormat, NpyFormat, RawFormat


def fit(stack: Array, name: str, shape: tuple[int, ...], dtype: str, place: str, fmt: Format) -> Array:
    """n samples ``stack`` (n, ...) as ``(n, 1, ...)``, C-contiguous, in ``dtype``; ``shape`` is the input's, with the
    batch dimension, -1 is open.

    Samples without batch dimension get one. Integers become floats; floats become integers only where every value
    is whole. Raises BadSample, its message beginning with ``place`` and right where n is 1.
    """
    sample = stack.shape[1:]
    whole = stack if len(sample) == len(shape) else stack[:, np.newaxis]
    expected = tuple(1 if axis == 0 and size == -1 else size for axis, size in enumerate(shape))
    if not _matches(whole.shape[1:], expected):
        got = sample[1:] if len(sample) == len(shape) and sample[0] == 1 else sample
        raise BadSample(
            f"{place}: input '{name}': expected shape {_written(shape[1:])} {dtype}, got {_written(got)} "
            f"{stack.dtype.name}; {_hint(got, shape[1:], fmt)}"
        )
    if stack.dtype.kind not in "biuf":
        raise BadSample(
            f"{place}: input '{name}': expected {dtype}, got {stack.dtype.name}; write the sample with a numeric dtype"
        )
    target = np.dtype(dtype)
    if target.kind != "f":
        return np.ascontiguousarray(_integers(whole, target, name, place))
    with np.errstate(over="ignore"):
        values = np.ascontiguousarray(whole, dtype=target)
    if whole.dtype.kind == "f" or target.itemsize == 2:
        _finite(values, name, place)
    return values


def _matches(got: tuple[int, ...], expected: tuple[int, ...]) -> bool:
    return len(got) == len(expected) and all(e in (-1, g) for g, e in zip(got, expected, strict=True))


def _finite(values: Array, name: str, place: str) -> None:
    finite: NDArray[np.bool_] = np.isfinite(values)
    if finite.all():
        return
    nan = int(np.isnan(values.astype(np.float64)).sum())
    infinite = values.size - int(finite.sum()) - nan
    raise BadSample(
        f"{place}: input '{name}': {nan + infinite} of {values.size} values are not finite ({nan} NaN, {infinite} "
        f"infinity in {values.dtype.name}); correct or remove the file, or set dataset.on_bad_sample to skip"
    )


def _integers(array: Array, target: np.dtype[np.generic], name: str, place: str) -> Array:
    if array.dtype == target:
        return array
    if array.dtype.kind == "f":
        _finite(array, name, place)
        floats = array.astype(np.float64)
        broken = floats[floats != np.floor(floats)]
        if broken.size:
            raise BadSample(
                f"{place}: input '{name}': expected {target.name}, got {array.dtype.name} with values that are not "
                f"whole ({broken.flat[0]:g}); store whole numbers, and drop normalize from dataset.preprocess"
            )
    low, high = _limits(target)
    if array.size:
        least, most = int(array.min().item()), int(array.max().item())
        if least < low or most > high:
            raise BadSample(
                f"{place}: input '{name}': expected {target.name} ({low}..{high}), got values {least}..{most}; store "
                "values in that range"
            )
    return array.astype(target)


def _limits(target: np.dtype[np.generic]) -> tuple[int, int]:
    bits = 8 * target.itemsize
    if target.kind == "b":
        return 0, 1
    return (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if target.kind == "i" else (0, 2**bits - 1)


def _hint(got: tuple[int, ...], expected: tuple[int, ...], fmt: Format) -> str:
    if isinstance(fmt, ImageFormat):
        return _image_hint(got, expected)
    same_count = all(e > 0 for e in expected) and math.prod(expected) == math.prod(got)
    if isinstance(fmt, RawFormat) or (isinstance(fmt, NpyFormat) and fmt.stride is not None):
        return f"set dataset.format.shape to {list(expected)}" if same_count else "correct dataset.format.shape"
    if same_count:
        return f"reshape the samples to {_written(expected)}"
    return "store the samples in the model's shape, or give the input another shape under model.inputs"


def _image_hint(got: tuple[int, ...], expected: tuple[int, ...]) -> str:
    if len(expected) != 3 or len(got) != 3:
        return "the input does not take one image (H, W, C); store the samples as npy in the model's shape"
    steps = []
    if not _matches(got[:2], expected[:2]):
        sizes = [g if e == -1 else e for g, e in zip(got[:2], expected[:2], strict=True)]
        steps.append(f"{{resize: {{size: {sizes}}}}}")
    if expected[2] not in (-1, got[2]):
        if expected[2] not in (1, 3):
            return "images have 1 or 3 channels; store the samples as npy in the model's shape"
        steps.append("{color: gray}" if expected[2] == 1 else "{color: rgb}")
    return f"add {' and '.join(steps)} to dataset.preprocess"


def _written(shape: tuple[int, ...]) -> str:
    inner = ", ".join("?" if size == -1 else str(size) for size in shape)
    return f"({inner},)" if len(shape) == 1 else f"({inner})"
