"""Shapes of samples against shapes of inputs: which fit, and a guess for what a model leaves open (pure).

Shapes of inputs include the batch dimension and have -1 for open ones; shapes of samples have no batch.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from tflite_ptq.result import TensorInfo

Shape = tuple[int, ...]

_IMAGE_SIZE = 224
_LENGTH = 128
"""Steps of a sequence: enough for the windows and strides that a model takes them through."""
_FRAMES = 16
"""Of each dimension of a video or volume, whose product must stay one that fits into memory."""


def fits(sample: Sequence[int], shape: Sequence[int]) -> bool:
    """Whether an input of that shape takes the sample."""
    return len(sample) == len(shape) - 1 and all(e in (-1, g) for g, e in zip(sample, shape[1:], strict=True))


def bare(sample: Shape, shape: Sequence[int]) -> Shape:
    """The shape of a sample without the batch of 1 that it may have been stored with."""
    return sample[1:] if len(sample) == len(shape) and sample[0] == 1 else sample


def channel_axis(shape: Sequence[int]) -> int | None:
    """Where an input that seems to take images has its channels: 3 or, channels first, 1."""
    if len(shape) != 4:
        return None
    return next((axis for axis in (3, 1) if shape[axis] in (1, 3)), 3 if shape[3] == -1 else None)


def guessed(shape: Sequence[int], samples: Iterable[Sequence[int]] = ()) -> Shape:
    """The shape with every dimension known: an open batch is 1, other open ones are as large as in the largest of the
    samples that fit, or guesses where none does."""
    fitting = [sample for sample in samples if fits(sample, shape)]
    if fitting:
        open_sizes: Sequence[int] = (1, *map(max, zip(*fitting, strict=True)))
    else:
        axis = channel_axis(shape)
        guess = _FRAMES if len(shape) > 4 else _LENGTH if axis is None else _IMAGE_SIZE
        open_sizes = [1 if at == 0 else 3 if at == axis else guess for at in range(len(shape))]
    return tuple(size if size >= 0 else found for size, found in zip(shape, open_sizes, strict=True))


def matched(inputs: Sequence[TensorInfo], arrays: Mapping[str, Shape]) -> tuple[dict[str, str], bool] | None:
    """The array for each input, by name or else by shape, and whether that is certain: no other would have fitted.
    ``None`` where an input is left without."""
    chosen = {info.name: info.name for info in inputs if info.name in arrays}
    free = [name for name in arrays if name not in chosen]
    certain = True
    for info in inputs:
        if info.name in chosen:
            continue
        fitting = [name for name in free if fits(bare(arrays[name], info.shape), info.shape)]
        if not fitting:
            return None
        chosen[info.name] = fitting[0]
        free.remove(fitting[0])
        certain = certain and len(fitting) == 1
    return {info.name: chosen[info.name] for info in inputs}, certain


def written(shape: Sequence[int]) -> str:
    """``(32, 32, 3)``: -1 is ``?``."""
    inner = ", ".join("?" if size < 0 else str(size) for size in shape)
    return f"({inner},)" if len(shape) == 1 else f"({inner})"
