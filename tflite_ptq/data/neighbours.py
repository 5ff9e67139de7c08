"""Several stored samples to arrays at once: neighbours in one file with one read, files of one form stacked.

``decode`` is the measure of all of it: what does not go together, or is bad, is left to be decoded sample by sample.
"""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from tflite_ptq.data.decode import decode, real_values, stored_dtype
from tflite_ptq.data.index import SampleRef
from tflite_ptq.data.stored import Array, Stored, native, npy_header, stacked
from tflite_ptq.recipe.dataset import Format, NpyFormat, RawFormat


def decode_all(refs: Sequence[SampleRef], fmt: Format) -> dict[str, Array] | None:
    """``decode`` of n samples: the arrays by key, each (n, ...); None where their keys, shapes or dtypes differ.

    Raises ``DataError`` where one of them is bad, or None is returned.
    """
    if len(refs) > 1 and isinstance(fmt, (RawFormat, NpyFormat)):
        values = _raw_files(refs, fmt) if isinstance(fmt, RawFormat) and refs[0].index is None else _in_a_row(refs, fmt)
        if values is not None:
            return {"": real_values(values, fmt) if isinstance(fmt, RawFormat) else values}
    samples = [decode(ref, fmt) for ref in refs]
    if any(sample.keys() != samples[0].keys() for sample in samples):
        return None
    joined = {key: stacked([sample[key] for sample in samples]) for key in samples[0]}
    found = {key: values for key, values in joined.items() if values is not None}
    return found if len(found) == len(joined) else None


def _raw_files(refs: Sequence[SampleRef], fmt: RawFormat) -> Array | None:
    """A file a sample: (n, *shape), not scaled; None where a file's size is wrong."""
    dtype = stored_dtype(fmt)
    size_bytes = math.prod(fmt.shape) * dtype.itemsize
    contents = []
    for ref in refs:
        try:
            contents.append(_beginning(ref.file, size_bytes + 1))
        except OSError:
            return None
        if len(contents[-1]) != size_bytes:
            return None
    return native(np.frombuffer(b"".join(contents), dtype).reshape(len(refs), *fmt.shape))


def _beginning(file: Path, size_bytes: int) -> bytes:
    # A file object takes longer to make than a small file to read.
    opened = os.open(file, os.O_RDONLY)
    try:
        return os.read(opened, size_bytes)
    finally:
        os.close(opened)


def _in_a_row(refs: Sequence[SampleRef], fmt: RawFormat | NpyFormat) -> Array | None:
    """Entries or windows that follow each other in one file: (n, *shape), not scaled; None where they do not."""
    first = refs[0].index
    if first is None or any(ref.file != refs[0].file or ref.index != first + i for i, ref in enumerate(refs)):
        return None
    if isinstance(fmt, RawFormat):
        stored = Stored(refs[0].file, stored_dtype(fmt), (-1,), 0)
    else:
        stored = npy_header(refs[0].file)
    shape = stored.shape[1:] if fmt.shape is None else fmt.shape
    count = math.prod(shape)
    stride = count if fmt.shape is None else fmt.stride
    if stride is None or count == 0:
        return None
    span = stored.values(first * stride, (len(refs) - 1) * stride + count)
    return np.lib.stride_tricks.sliding_window_view(span, count)[::stride].reshape(len(refs), *shape)
