"""What a set of preprocessed samples holds: contents, ranges and classes, gathered in one pass over the stream.

One sample is in memory at a time; what stays is a digest and two numbers an input for each sample.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tflite_ptq.data.index import SampleRef

Array = NDArray[np.generic]
Channels = NDArray[np.float64]

_DIGEST_BYTES = 16
_BY_COLUMN = 16  # up to so many channels, reducing one column after the other is faster than numpy's short rows


@dataclass(frozen=True, slots=True)
class ArrayCensus:
    """One input of one sample: ``min`` and ``max`` of its finite values (``None`` where it has none), how many of its
    ``size`` values are NaN or infinite."""

    min: float | None
    max: float | None
    size: int
    non_finite: int

    @property
    def constant(self) -> bool:
        """Whether it repeats one finite value; a single number does not count."""
        return self.size > 1 and self.non_finite == 0 and self.min == self.max

    @property
    def all_zero(self) -> bool:
        """Whether it is constant and that value is zero."""
        return self.constant and self.min == 0


@dataclass(frozen=True, slots=True)
class SampleCensus:
    """One sample: where it came from, the blake2b digest of its preprocessed inputs, ``inputs`` as in ``Census``."""

    ref: SampleRef
    digest: bytes
    inputs: tuple[ArrayCensus, ...]

    @property
    def constant(self) -> bool:
        """Whether nothing varies in it: every input of more than one value is constant (and there is one)."""
        varied = [array for array in self.inputs if array.size > 1]
        return bool(varied) and all(array.constant for array in varied)


@dataclass(frozen=True)
class InputCensus:
    """One input over the whole set, finite values only.

    ``min`` and ``max`` are ``None`` where there is none. The channels are the last axis: ``channel_min``,
    ``channel_max`` and ``channel_mean`` are float64 ``(C,)``, NaN for a channel without a finite value; ``None`` for
    an input without axes beside the batch, or of a channel count that differs from sample to sample. ``rank`` counts
    the batch axis.
    """

    name: str
    dtype: str
    rank: int
    min: float | None
    max: float | None
    channel_min: Channels | None
    channel_max: Channels | None
    channel_mean: Channels | None


@dataclass(frozen=True)
class Census:
    """A set of samples, or of some for all. ``inputs`` are sorted by name, ``samples`` are in the order of the stream.
    Of the whole set: ``classes`` are the class indices present, ascending (empty where samples have none), ``total``
    is its size."""

    inputs: tuple[InputCensus, ...]
    samples: tuple[SampleCensus, ...]
    classes: tuple[int, ...]
    total: int


def census(
    samples: Iterable[tuple[SampleRef, Mapping[str, Array]]], chosen: Sequence[SampleRef] | None = None
) -> Census:
    """The census of a stream of samples, as ``reader.stream`` gives them: all, or some of those ``chosen``. A sample's
    inputs are ``(1, ...)`` by name, numeric.

    Raises what the stream raises, and ValueError where the names differ.
    """
    inputs: dict[str, _Input] = {}
    seen: list[SampleCensus] = []
    for ref, sample in samples:
        names = sorted(sample)
        if seen and names != list(inputs):
            raise ValueError(f"{ref.place}: inputs {names} after samples of {list(inputs)}")
        digest = hashlib.blake2b(digest_size=_DIGEST_BYTES)
        arrays = []
        for name in names:
            array = np.ascontiguousarray(sample[name])
            digest.update(f"{name}:{array.dtype.str}:{array.shape};".encode())
            digest.update(array.reshape(-1).view(np.uint8).data)
            arrays.append(inputs.setdefault(name, _Input(name, array)).add(array))
        seen.append(SampleCensus(ref, digest.digest(), tuple(arrays)))
    refs = [sample.ref for sample in seen] if chosen is None else chosen
    classes = {ref.label for ref in refs if isinstance(ref.label, int)}
    return Census(tuple(item.result() for item in inputs.values()), tuple(seen), tuple(sorted(classes)), len(refs))


class _Input:
    def __init__(self, name: str, first: Array) -> None:
        self._name, self._dtype, self._rank = name, first.dtype.name, first.ndim
        self._min: float | None = None
        self._max: float | None = None
        self._channels: _Channels | None = _Channels(first.shape[-1]) if first.ndim > 1 else None

    def add(self, array: Array) -> ArrayCensus:
        values = array.astype(np.uint8) if array.dtype.kind == "b" else array
        if values.size == 0:
            return ArrayCensus(None, None, 0, 0)
        non_finite = 0
        low, high = float(values.min().item()), float(values.max().item())
        if not (np.isfinite(low) and np.isfinite(high)):  # a NaN reaches both ends
            finite = np.isfinite(values)
            non_finite = int(values.size - np.count_nonzero(finite))
            if non_finite == values.size:
                return ArrayCensus(None, None, values.size, non_finite)
            kept = values[finite]
            low, high = float(kept.min().item()), float(kept.max().item())
        self._min = low if self._min is None else min(self._min, low)
        self._max = high if self._max is None else max(self._max, high)
        if self._channels is not None and array.shape[-1] != self._channels.count:
            self._channels = None
        if self._channels is not None:
            self._channels.add(values, non_finite > 0)
        return ArrayCensus(low, high, values.size, non_finite)

    def result(self) -> InputCensus:
        low, high, mean = (None, None, None) if self._channels is None else self._channels.result()
        return InputCensus(self._name, self._dtype, self._rank, self._min, self._max, low, high, mean)


class _Channels:
    def __init__(self, count: int) -> None:
        self.count = count
        self._seen = np.zeros(count, np.int64)
        self._sum = np.zeros(count, np.float64)
        self._min = np.full(count, np.inf)
        self._max = np.full(count, -np.inf)

    def add(self, values: Array, filtered: bool) -> None:
        rows = values.reshape(-1, self.count)
        if filtered or self.count <= _BY_COLUMN:
            for channel in range(self.count):
                column = rows[:, channel]
                self._add(slice(channel, channel + 1), column[np.isfinite(column)][:, None] if filtered else column)
        else:
            self._add(slice(None), rows)

    def _add(self, where: slice, rows: Array) -> None:
        if rows.size == 0:
            return
        self._seen[where] += len(rows)
        self._sum[where] += np.add.reduce(rows, axis=0, dtype=np.float64)
        self._min[where] = np.minimum(self._min[where], rows.min(axis=0))
        self._max[where] = np.maximum(self._max[where], rows.max(axis=0))

    def result(self) -> tuple[Channels, Channels, Channels]:
        empty = self._seen == 0
        mean = np.divide(self._sum, self._seen, out=np.full(self.count, np.nan), where=~empty)
        return np.where(empty, np.nan, self._min), np.where(empty, np.nan, self._max), mean
