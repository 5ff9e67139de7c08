"""How much of a distribution is lost when it is clipped to a range and its bins are merged into quantization levels.

The measure is that of TensorRT's calibrator: S. Migacz, "8-bit Inference with TensorRT", GTC 2017, also in MXNet's
``contrib/quantization.py``. P is the reference: the bins of the range, with all that lies outside added to its two end
bins. Q is what is left after quantizing: the same bins *without* the outliers, merged into ``levels`` cells, the mass
of each cell spread evenly over those of its bins that P fills. The loss is the Kullback-Leibler divergence

    KL(P || Q) = sum_i p_i * ln(p_i / q_i)

Different from the talk: the range is ``[low, high]`` around zero with each side's outliers added to its own end (theirs
is of magnitudes), and exact zeros are left out, as they are representable in every range. ``beyond``: how many values
lie below and above all bins, outliers of every range.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tflite_ptq.quantize.calibration.density import Density
from tflite_ptq.quantize.calibration.histogram import BINS_PER_SIDE

Array = NDArray[np.float64]
Bins = NDArray[np.intp]


class Divergence:
    """KL(P || Q) of the non-zero values of a histogram for any number of ranges, from running sums over its bins."""

    def __init__(self, density: Density, levels: int, beyond: tuple[int, int] = (0, 0)) -> None:
        self._levels, self._beyond = levels, beyond
        self._width = density.width
        counts = np.zeros(2 * BINS_PER_SIDE, np.float64)
        counts[density.first : density.first + density.counts.size] = density.counts
        self._counts = counts
        self._mass = np.concatenate(([0.0], np.cumsum(counts)))
        self._filled = np.concatenate(([0.0], np.cumsum(counts > 0)))
        self._own = np.concatenate(([0.0], np.cumsum(_x_ln_x(counts))))

    def bins(self, lows: Array, highs: Array) -> tuple[Bins, Bins]:
        """The first bin of each range and the one after its last, the ranges widened to whole bins."""
        below, above = np.floor(lows / self._width), np.ceil(highs / self._width)
        # An end on the edge of a bin belongs to the bin beyond it (6.0 of a ReLU6 to [6, 6 + width)), zero excepted.
        below -= (lows < 0) & (lows == below * self._width)
        above += (highs > 0) & (highs == above * self._width)
        first, after = below.astype(np.intp) + BINS_PER_SIDE, above.astype(np.intp) + BINS_PER_SIDE
        return np.maximum(first, 0), np.minimum(after, 2 * BINS_PER_SIDE)

    def of(self, lows: Array, highs: Array) -> Array:
        """KL(P || Q) for ranges with ends ``lows`` (<= 0) and ``highs`` (>= 0), each ``(K,)``; the result is ``(K,)``.

        Infinite where the range cannot be judged: fewer bins than levels while values lie outside (merging would seem
        to lose nothing), or outliers added to an end cell that holds no value of its own.
        """
        first, after = self.bins(lows, highs)
        last = after - 1
        total = self._mass[-1] + sum(self._beyond)
        inside = self._mass[after] - self._mass[first]
        below, above = self._mass[first] + self._beyond[0], self._mass[-1] - self._mass[after] + self._beyond[1]
        end_low, end_high = self._counts[first], self._counts[last]

        own = self._own[after] - self._own[first]
        own += _x_ln_x(end_low + below) - _x_ln_x(end_low) + _x_ln_x(end_high + above) - _x_ln_x(end_high)

        cuts = first[:, None] + (after - first)[:, None] * np.arange(self._levels + 1) // self._levels
        merged = np.diff(self._mass[cuts], axis=1)
        filled = np.diff(self._filled[cuts], axis=1)
        filled[:, 0] += (end_low == 0) & (below > 0)
        filled[:, -1] += (end_high == 0) & (above > 0)
        reference = merged.copy()
        reference[:, 0] += below
        reference[:, -1] += above

        with np.errstate(divide="ignore", invalid="ignore"):
            spread = np.where(merged > 0, merged / filled, 0.0)
            crossed = np.where(reference > 0, reference * np.log(spread), 0.0).sum(axis=1)
            divergence = (own - crossed) / total - np.log(total) + np.log(inside)
        clipped = below + above > 0
        blind = clipped & (after - first < self._levels)
        result: Array = np.where(blind | ~np.isfinite(divergence), np.inf, divergence)
        return result


def _x_ln_x(x: Array) -> Array:
    """x * ln(x), 0 at 0."""
    result: Array = x * np.log(np.where(x > 0, x, 1.0))
    return result
