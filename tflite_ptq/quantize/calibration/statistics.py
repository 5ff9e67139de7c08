"""What is gathered about one activation tensor, sample by sample, in memory that does not grow with their number.

Minimum and maximum are exact and cost one pass each. Sums are kept in float64, so merging in a fixed order gives the
same bits on every run; minimum, maximum, counts and histogram (but for its core) do not depend on the order at all.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tflite_ptq.quantize.calibration.histogram import Histogram

# Half the time of a small array's ``min()`` is spent on the way to this; a NaN among the values comes out as NaN.
_least, _most = np.minimum.reduce, np.maximum.reduce
_ROW = 1024  # values a row when channels are summed: long enough for the vector units
_ROWS = 64  # rows at a time: their float64 copy stays in the second-level cache


@dataclass(frozen=True)
class Gather:
    """What to gather beside minimum and maximum; each costs a further pass over the activation.

    ``means``: mean and mean square per channel, for bias correction. ``maps``: the mean activation map, for bias
    correction of layers with SAME padding, whose borders see other means. ``histograms``: for the ranges.
    """

    means: bool = False
    maps: bool = False
    histograms: bool = False


class TensorStatistics:
    """Accumulates one tensor over samples. Channels are the last axis; a scalar counts as one channel.

    ``samples`` and ``values`` count what was seen; ``min`` and ``max`` are float32 values held as Python floats, NaN
    once a NaN was seen, ``None`` before the first value; ``min_at`` and ``max_at`` are the positions, among the samples
    seen, of those that brought them. ``histogram`` is ``None`` where none was asked for and holds
    the finite samples only; ``non_finite_samples`` counts the others.
    """

    __slots__ = (
        "_gather",
        "_map",
        "_squares",
        "_sums",
        "histogram",
        "max",
        "max_at",
        "min",
        "min_at",
        "non_finite_samples",
        "samples",
        "values",
    )

    def __init__(self, gather: Gather) -> None:
        self._gather = gather
        self.samples = 0
        self.values = 0
        self.non_finite_samples = 0
        self.min: float | None = None
        self.max: float | None = None
        self.min_at = self.max_at = 0
        self.histogram: Histogram | None = Histogram() if gather.histograms else None
        self._sums: NDArray[np.float64] | None = None
        self._squares: NDArray[np.float64] | None = None
        self._map: NDArray[np.float64] | None = None

    @property
    def finite(self) -> bool:
        """False once a NaN or an infinity was seen."""
        return self.non_finite_samples == 0

    @property
    def mean(self) -> NDArray[np.float64] | None:
        """E[x] per channel, ``(C,)``; NaN or infinite where a value was; ``None`` where not gathered."""
        return None if self._sums is None else self._sums / (self.values // self._sums.size)

    @property
    def mean_square(self) -> NDArray[np.float64] | None:
        """E[x * x] per channel, ``(C,)``; ``None`` where not gathered."""
        return None if self._squares is None else self._squares / (self.values // self._squares.size)

    @property
    def mean_map(self) -> NDArray[np.float64] | None:
        """E[x] of each position, the shape of one sample such as ``(1, H, W, C)``; ``None`` where not gathered."""
        return None if self._map is None else self._map / self.samples

    def update(self, sample: NDArray[np.float32]) -> None:
        """Take in the activation of one sample, float32 ``(1, ..., C)``; an empty array counts as a sample only.

        Raises ``ValueError`` where the channels (or, with maps, the shape) differ from the samples before.
        """
        if sample.size == 0:
            self.samples += 1
            return
        low, high = float(_least(sample, None)), float(_most(sample, None))
        finite = math.isfinite(low) and math.isfinite(high)
        if self._gather.means or self._gather.maps:
            # A model that overflows is a finding of its own (``finite``), not a reason for numpy to warn.
            with np.errstate(invalid="ignore", over="ignore"):
                if self._gather.means:
                    self._add_channels(*_channel_sums(sample))
                if self._gather.maps:
                    self._add_map(sample)
        self._add_limits(low, high, self.samples, self.samples)
        self.samples += 1
        self.values += sample.size
        self.non_finite_samples += not finite
        if self.histogram is not None and finite:
            self.histogram.update(sample, low, high)

    def add_limits(
        self, samples: int, values: int, limits: tuple[float, float], at: tuple[int, int], non_finite_samples: int
    ) -> None:
        """Take in ``samples`` samples of ``values`` values each by their limits, minimum and maximum, and the positions
        ``at`` which they are among these samples; NaN where one is among the values.

        Raises ``ValueError`` where more than limits is gathered.
        """
        if self._gather != Gather():
            raise ValueError(f"limits alone do not give {self._gather}")
        self._add_limits(*limits, self.samples + at[0], self.samples + at[1])
        self.samples += samples
        self.values += samples * values
        self.non_finite_samples += non_finite_samples

    def merge(self, other: TensorStatistics) -> None:
        """Add what ``other`` saw, leaving it as it was. The sums depend on the order in their last bits: keep it fixed.

        Raises ``ValueError`` where the two gathered different things or saw different shapes.
        """
        if self._gather != other._gather:
            raise ValueError(f"statistics of {other._gather} cannot be merged into statistics of {self._gather}")
        if other.min is not None and other.max is not None:
            self._add_limits(other.min, other.max, self.samples + other.min_at, self.samples + other.max_at)
        with np.errstate(invalid="ignore", over="ignore"):
            if other._sums is not None and other._squares is not None:
                self._add_channels(other._sums, other._squares)
            if other._map is not None:
                self._add_map(other._map)
        self.samples += other.samples
        self.values += other.values
        self.non_finite_samples += other.non_finite_samples
        if self.histogram is not None and other.histogram is not None:
            self.histogram.merge(other.histogram)

    def _add_limits(self, low: float, high: float, low_at: int, high_at: int) -> None:
        # A NaN is unequal to itself, and nothing is below or above it: once there it stays.
        if self.min is None or low < self.min or low != low:
            self.min, self.min_at = low, low_at
        if self.max is None or high > self.max or high != high:
            self.max, self.max_at = high, high_at

    def _add_channels(self, sums: NDArray[np.float64], squares: NDArray[np.float64]) -> None:
        if self._sums is None or self._squares is None:
            self._sums, self._squares = np.zeros_like(sums), np.zeros_like(squares)
        if self._sums.shape != sums.shape:
            raise ValueError(
                f"{sums.size} channels after samples of {self._sums.size}: one tensor has one channel count"
            )
        self._sums += sums
        self._squares += squares

    def _add_map(self, sample: NDArray[np.float32] | NDArray[np.float64]) -> None:
        if self._map is None:
            self._map = np.zeros(sample.shape, np.float64)
        if self._map.shape != sample.shape:
            raise ValueError(f"shape {sample.shape} after samples of {self._map.shape}: a mean map needs one shape")
        self._map += sample


def _channel_sums(sample: NDArray[np.float32]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Sum and sum of squares over all axes but the last: two float64 arrays ``(C,)``."""
    channels = sample.shape[-1] if sample.ndim else 1
    flat = sample.reshape(-1)
    # Several positions a row: numpy adds long rows to each other ten times faster than rows of a few channels.
    positions = max(1, _ROW // channels)
    whole = flat.size // (positions * channels) * (positions * channels)
    sums = np.zeros((positions, channels), np.float64)
    squares = np.zeros((positions, channels), np.float64)
    rows = flat[:whole].reshape(-1, positions, channels)
    for start in range(0, len(rows), _ROWS):
        block = rows[start : start + _ROWS].astype(np.float64)
        sums += block.sum(axis=0)
        np.square(block, out=block)
        squares += block.sum(axis=0)
    rest = flat[whole:].reshape(-1, channels).astype(np.float64)
    sums[: len(rest)] += rest
    squares[: len(rest)] += np.square(rest)
    return sums.sum(axis=0), squares.sum(axis=0)
