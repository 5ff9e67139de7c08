"""A histogram of float32 values whose range is not known beforehand: one pass, bounded memory, exact merging.

The values lie in ``(-R, R)`` with ``R`` a power of two, the smallest that holds the largest magnitude seen. Each side
of zero has ``BINS_PER_SIDE`` bins of ``width = R / BINS_PER_SIDE``; bin ``k >= 0`` of the positive side holds
``[k * width, (k + 1) * width)`` and its mirror image on the negative side ``(-(k + 1) * width, -k * width]``, zero left
out. Where a value falls outside, R doubles until it fits and neighbouring bins are added up. Scaling by a power of two
is exact in floating point, so the counts are those of a histogram that had known R from the start: neither the order of
the values nor the way they were split among several histograms changes them.

One value a thousand times as far out as the others would leave these a handful of bins. So where values come more than
``2**_FAR`` times as far out as all before them, the histogram of those is kept as the ``core`` and goes on beside.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

BINS_PER_SIDE = 4096
_LOG2_BINS = BINS_PER_SIDE.bit_length() - 1

# R never goes below 2**-100: the scale factor of smaller magnitudes would overflow float32, and no quantization step
# can tell them from zero.
_MIN_EXPONENT = -100

_FAR = 6
_CORE_SHARE = 0.99

_CHUNK = 1 << 16  # the intermediate arrays of one chunk stay in the second-level cache


class Histogram:
    """Exact counts of float32 values in ``2 * BINS_PER_SIDE`` equal bins around zero; grows by doubling its range.

    ``counts``: int64, ``(2 * BINS_PER_SIDE,)``, from ``-R`` to ``R``; exact zeros count in the bin ``[0, width)``.
    ``zeros``: how many of the values were exactly zero (of either sign).
    """

    __slots__ = ("_core", "_exponent", "counts", "zeros")

    def __init__(self) -> None:
        self._exponent = _MIN_EXPONENT
        self._core: Histogram | None = None
        self.counts: NDArray[np.int64] = np.zeros(2 * BINS_PER_SIDE, np.int64)
        self.zeros = 0

    @property
    def limit(self) -> float:
        """R, a power of two: all values v have ``|v| < R``."""
        return math.ldexp(1.0, self._exponent)

    @property
    def width(self) -> float:
        """The width of every bin, a power of two."""
        return math.ldexp(1.0, self._exponent - _LOG2_BINS)

    @property
    def edges(self) -> NDArray[np.float64]:
        """The ``2 * BINS_PER_SIDE + 1`` edges of the bins, ascending, exact; ``edges[BINS_PER_SIDE]`` is 0."""
        return np.arange(-BINS_PER_SIDE, BINS_PER_SIDE + 1, dtype=np.float64) * self.width

    @property
    def total(self) -> int:
        """The number of values counted, zeros included."""
        return int(self.counts.sum())

    @property
    def nonzero_counts(self) -> NDArray[np.int64]:
        """``counts`` without the exact zeros; a new array."""
        counts = self.counts.copy()
        counts[BINS_PER_SIDE] -= self.zeros
        return counts

    @property
    def core(self) -> Histogram | None:
        """The values but for a few (at most 1 % of those not zero) that reach more than 64 times as far; ``None`` where
        none are so far out. Which are few is only known in the end: its counts may depend on the order of the values.
        """
        core = self._core
        if core is None or self._exponent - core._exponent <= _FAR or core.nonzero < _CORE_SHARE * self.nonzero:
            return None
        return core

    @property
    def nonzero(self) -> int:
        """How many of the values were not exactly zero."""
        return self.total - self.zeros

    def update(self, values: NDArray[np.float32], low: float | None = None, high: float | None = None) -> None:
        """Count ``values`` (float32, any shape). ``low`` and ``high`` are their minimum and maximum where known.

        Raises ``ValueError`` where a value is NaN or infinite; the histogram is then left as it was.
        """
        if values.size == 0:
            return
        flat = values.reshape(-1)
        low = float(flat.min()) if low is None else low
        high = float(flat.max()) if high is None else high
        if not (math.isfinite(low) and math.isfinite(high)):
            raise ValueError(f"a histogram holds finite values only; these lie between {low} and {high}")
        self._count_core(flat, max(-low, high))
        self._count(flat, low, high)

    def merge(self, other: Histogram) -> None:
        """Add ``other``, which is left as it was. The counts are exact and do not depend on the order of merging."""
        self._core = _merged_core(self, other)
        self._add(other)

    def _count(self, values: NDArray[np.float32], low: float, high: float) -> None:
        magnitude = max(-low, high)
        if magnitude > 0:
            self._grow(math.frexp(magnitude)[1])
        scale = np.float32(math.ldexp(1.0, _LOG2_BINS - self._exponent))
        for start in range(0, values.size, _CHUNK):
            chunk = values[start : start + _CHUNK]
            # Truncation, not floor: a product that underflows to zero stays on its own side of zero.
            index = (chunk * scale).astype(np.intp)
            if low >= 0:
                self.counts[BINS_PER_SIDE:] += np.bincount(index, minlength=BINS_PER_SIDE)
            else:
                index -= (chunk < 0).view(np.int8)
                index += BINS_PER_SIDE
                self.counts += np.bincount(index, minlength=2 * BINS_PER_SIDE)
            self.zeros += chunk.size - int(np.count_nonzero(chunk))

    def _count_core(self, values: NDArray[np.float32], magnitude: float) -> None:
        """Counts in the core what does not reach far beyond it; begins one where these are the first that do."""
        exponent = math.frexp(magnitude)[1] if magnitude > 0 else _MIN_EXPONENT
        if self._core is None and exponent - self._exponent <= _FAR:
            return
        distances = np.abs(values)
        if self._core is not None:
            reach = self._core._exponent + _FAR
        elif self.nonzero:
            self._core, reach = self._copy(), self._exponent + _FAR
        else:
            reach = exponent - _FAR - 1
            far = np.count_nonzero(distances >= math.ldexp(1.0, reach))
            if far > (1 - _CORE_SHARE) * np.count_nonzero(values):
                return
            self._core = Histogram()
        near = values[distances < math.ldexp(1.0, reach)]
        if near.size:
            self._core._count(near, float(near.min()), float(near.max()))
        if 2 * self._core.nonzero < self.nonzero + np.count_nonzero(values):
            self._core = None  # those far out are not few

    def _copy(self) -> Histogram:
        other = Histogram()
        other._add(self)
        return other

    def _add(self, other: Histogram) -> None:
        self._grow(other._exponent)
        self.counts += _merged_bins(other.counts, self._exponent - other._exponent)
        self.zeros += other.zeros

    def _grow(self, exponent: int) -> None:
        if exponent > self._exponent:
            self.counts = _merged_bins(self.counts, exponent - self._exponent)
            self._exponent = exponent


def _merged_core(one: Histogram, other: Histogram) -> Histogram | None:
    """The core of both together, before they are."""
    parts = sorted((h._core or h for h in (one, other) if h.nonzero), key=lambda part: part._exponent)
    apart = bool(parts) and parts[-1]._exponent - parts[0]._exponent > _FAR
    if not (apart or one._core or other._core):
        return None
    if apart and 2 * parts[0].nonzero < one.nonzero + other.nonzero:  # next to nothing, and no core of what follows
        return parts[1]._copy() if parts[1] in (one._core, other._core) else None
    core = parts[0]._copy()
    if len(parts) > 1 and not apart:
        core._add(parts[1])
    return core


def _merged_bins(counts: NDArray[np.int64], doublings: int) -> NDArray[np.int64]:
    """The counts after ``doublings >= 0`` doublings of the range: bin k of a side goes to bin ``k >> doublings``."""
    if doublings == 0:
        return counts
    group = 1 << min(doublings, _LOG2_BINS)
    sides = counts.reshape(2, BINS_PER_SIDE // group, group).sum(axis=2)
    kept = sides.shape[1]
    merged = np.zeros_like(counts)
    merged[BINS_PER_SIDE - kept : BINS_PER_SIDE] = sides[0]
    merged[BINS_PER_SIDE : BINS_PER_SIDE + kept] = sides[1]
    return merged
