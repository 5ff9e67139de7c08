"""The distribution behind a histogram, and the expected error of quantizing it.

Within a bin the values are taken as uniformly spread; the bins at both ends are cut to the exact minimum and maximum.
Exact zeros are left out: zero is representable in every affine quantization, so they never err.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tflite_ptq.quantize.calibration.histogram import BINS_PER_SIDE, Histogram

Array = NDArray[np.float64]

# Above this many levels the error within the range is step**2 / 12 (Bennett) to well below a percent, and summing over
# the levels would cost more than it tells.
_MOST_SUMMED_LEVELS = 1024


@dataclass(frozen=True)
class Density:
    """The non-zero values of a histogram, piecewise uniform. F is the share of values at or below x, ``total`` of all.

    ``counts`` and ``slopes`` (counts per unit of x) are ``(B,)``, the bins from the first to the last filled one;
    ``first`` is the index of the first in the histogram. ``edges``, ``cdf`` (total * F at the edges), ``cdf_integral``
    (its integral from minus infinity) and ``cdf_double_integral`` (the integral of that) are ``(B + 1,)``.
    ``mean`` and ``second_moment`` are E[x] and E[x * x] of the non-zero values.
    """

    counts: NDArray[np.int64]
    first: int
    width: float
    total: float
    edges: Array
    cdf: Array
    cdf_integral: Array
    cdf_double_integral: Array
    slopes: Array
    mean: float
    second_moment: float

    def integral_to(self, x: Array) -> Array:
        """The integral of total * F up to ``x`` (any shape): the sum over the values v <= x of ``x - v``."""
        bin_, inside = self._locate(x)
        within: Array = self.cdf_integral[bin_] + inside * (self.cdf[bin_] + 0.5 * self.slopes[bin_] * inside)
        beyond: Array = np.maximum(x - self.edges[-1], 0.0)
        return within + self.total * beyond

    def double_integral_to(self, x: Array) -> Array:
        """Half the sum over the values v <= x of ``(x - v) ** 2``; ``x`` of any shape."""
        bin_, inside = self._locate(x)
        quadratic = self.cdf[bin_] / 2 + self.slopes[bin_] * inside / 6
        within: Array = self.cdf_double_integral[bin_] + inside * (self.cdf_integral[bin_] + inside * quadratic)
        beyond: Array = np.maximum(x - self.edges[-1], 0.0)
        tail: Array = beyond * (self.cdf_integral[-1] + beyond * self.total / 2)
        return within + tail

    def _locate(self, x: Array) -> tuple[NDArray[np.intp], Array]:
        """The bin that holds x, and how far into it x lies; x outside the edges counts as on the nearest edge."""
        held = np.clip(x, self.edges[0], self.edges[-1])
        bin_ = np.floor(held / self.width).astype(np.intp)
        bin_ -= self.first - BINS_PER_SIDE
        np.clip(bin_, 0, len(self.slopes) - 1, out=bin_)
        return bin_, held - self.edges[bin_]


def density_of(histogram: Histogram, low: float, high: float) -> Density:
    """The density of the non-zero values of ``histogram``, all of which lie in ``[low, high]``.

    Raises ``ValueError`` where there is no such value.
    """
    nonzero = histogram.nonzero_counts
    filled = np.flatnonzero(nonzero)
    if filled.size == 0:
        raise ValueError("the histogram holds no value other than zero")
    first, last = int(filled[0]), int(filled[-1])
    counts = nonzero[first : last + 1]
    edges = np.clip(histogram.edges[first : last + 2], low, high)
    lengths = np.diff(edges)
    # A bin cut to zero length (all its values are the extreme itself, as ReLU6 makes them) is a jump of the CDF.
    slopes = np.divide(counts, lengths, out=np.zeros(counts.size), where=lengths > 0)
    cdf = _running(counts.astype(np.float64))
    integral = _running(lengths * (cdf[:-1] + cdf[1:]) / 2)
    double = _running(lengths * (integral[:-1] + lengths * (cdf[:-1] / 2 + slopes * lengths / 6)))
    total = float(cdf[-1])
    lower, upper = edges[:-1], edges[1:]
    return Density(
        counts=counts,
        first=first,
        width=histogram.width,
        total=total,
        edges=edges,
        cdf=cdf,
        cdf_integral=integral,
        cdf_double_integral=double,
        slopes=slopes,
        mean=float(counts @ (lower + upper)) / 2 / total,
        second_moment=float(counts @ (lower * lower + lower * upper + upper * upper)) / 3 / total,
    )


def quantization_error(density: Density, lowest: Array, steps: Array, levels: int) -> Array:
    """The expected squared error of rounding to the nearest of ``lowest + k * step``, k = 0 .. levels - 1.

    ``lowest`` and ``steps`` ``(K,)``, one pair for each of K quantizations; the result is ``(K,)``, over the non-zero
    values, clipping included. With q the highest level and b_k the midpoint of level k and the next, summation by parts
    of sum_k E[(x - level_k)**2; x nearest to level_k] gives

        E[(x - q)**2] - 2 * step * sum_k integral of F up to b_k

    Above 1024 levels: step**2 / 12 for every value (Bennett 1948) plus E[(x - end)**2] beyond either end.
    """
    highest = lowest + steps * (levels - 1)
    from_top = density.second_moment - 2 * highest * density.mean + highest * highest
    if levels <= _MOST_SUMMED_LEVELS:
        midpoints = lowest[:, None] + steps[:, None] * (np.arange(levels - 1) + 0.5)
        summed: Array = density.integral_to(midpoints).sum(axis=1)
        error: Array = from_top - 2 * steps * summed / density.total
        return np.maximum(error, 0.0)
    below = 2 * density.double_integral_to(lowest) / density.total
    below_top = 2 * density.double_integral_to(highest) / density.total
    # Beyond the last edge no value lies above the range, and the difference would be rounding noise.
    above = np.where(highest >= density.edges[-1], 0.0, np.maximum(from_top - below_top, 0.0))
    squared: Array = steps * steps / 12 + below + above
    return squared


def _running(terms: Array) -> Array:
    """The sums of the first 0, 1, 2, ... terms."""
    sums: Array = np.concatenate(([0.0], np.cumsum(terms)))
    return sums
