"""From the statistics of an activation to the range that it is quantized with.

``mse`` and ``entropy`` return ranges that are already nudged: their scale and zero point represent 0.0 exactly, as
``ChooseQuantizationParams`` of gemmlowp's ``doc/quantization_example.cc`` and ``getNudgedScaleAndZeroPoint`` of the
converter's ``FakeQuantSupport.cc`` do it, so that what was searched for is what the converter makes of it. All ranges
but those of ``minmax`` hold zero, which TFLite requires.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from tflite_ptq.quantize.calibration.density import Density, density_of, quantization_error
from tflite_ptq.quantize.calibration.divergence import Divergence
from tflite_ptq.quantize.calibration.histogram import BINS_PER_SIDE
from tflite_ptq.quantize.calibration.range_search import Cost, cheapest_range
from tflite_ptq.quantize.calibration.statistics import TensorStatistics

Array = NDArray[np.float64]
Fault = Literal["no values", "nan", "infinite", "zero width"]

# A sixteen-bit step of a narrower range is no normal float32 number.
_NARROWEST = float(np.finfo(np.float32).tiny) * 65536
_SIDES = (slice(None, BINS_PER_SIDE), slice(BINS_PER_SIDE, None))


@dataclass(frozen=True)
class Range:
    """The real values ``[min, max]`` that an activation can take without clipping."""

    min: float
    max: float


class RangeError(ValueError):
    """There is no range to quantize with: ``fault`` says why, ``observed`` what was seen; callers name the tensor."""

    def __init__(self, fault: Fault, reason: str, observed: Range | None) -> None:
        super().__init__(reason)
        self.fault: Fault = fault
        self.observed = observed


def minmax(statistics: TensorStatistics) -> Range:
    """The observed minimum and maximum, unchanged: the converter's own calibration (it widens the range to zero).

    Raises ``RangeError`` where nothing was seen, where a value is NaN or infinite, or where all values are equal.
    """
    observed = _observed(statistics)
    if observed.max - observed.min < _NARROWEST:
        raise _zero_width(observed)
    return observed


def percentile(statistics: TensorStatistics, percent: float) -> Range:
    """The range that keeps ``percent`` (above 0, at most 100) of the non-zero values, and zero.

    As ``histogram`` calibration with a percentile in H. Wu et al., "Integer Quantization for Deep Learning Inference"
    (arXiv 2004.09602, section 5), but two-sided: with values on both sides of zero each end cuts off
    ``(100 - percent) / 2``; with values on one side only, the far end cuts off all of it. Exact zeros do not count, or
    a sparse activation would lose all it has. Within a bin values count as uniformly spread. Where a few values lie far
    out, the bins are those of the others (``Histogram.core``) as long as only these few are cut off.

    Raises ``ValueError`` for a percentage out of bounds or without a histogram, ``RangeError`` as ``mse`` does.
    """
    if not 0 < percent <= 100:
        raise ValueError(f"a percentile lies above 0 and at most at 100; this is {percent}")
    observed, whole = _distribution(statistics)
    core = _core_of(statistics, observed)
    cut = (1 - percent / 100) * whole.total
    low = high = 0.0
    if observed.min < 0 < observed.max:
        low, high = _lower_end(whole, core, cut / 2), _upper_end(whole, core, cut / 2)
    elif observed.min < 0:
        low = _lower_end(whole, core, cut)
    else:
        high = _upper_end(whole, core, cut)
    kept = Range(min(low, 0.0), max(high, 0.0))
    if kept.max - kept.min < _NARROWEST:
        raise _zero_width(kept)
    return kept


def mse(statistics: TensorStatistics, levels: int, symmetric: bool = False) -> Range:
    """The range of least expected squared error E[(x - quantized(x))**2], clipping included (``quantization_error``).

    With scale s = (max - min) / (levels - 1) and zero point z: quantized(x) = s * (clamp(round(x / s) + z) - z). The
    criterion is that of R. Banner et al., "Post training 4-bit quantization" (arXiv 1810.05723), searched numerically
    over the histogram instead of assuming a distribution.

    ``levels``: 256 for int8, 65536 for int16. ``symmetric``: zero point 0 and ``[-T, T]`` over ``levels - 1`` levels,
    as TFLite's int16 activations are. Never worse than the observed range by this measure.
    Raises ``RangeError`` without values, with NaN or infinite ones, or where all are zero; ``ValueError`` without a
    histogram.
    """
    observed, density = _distribution(statistics)
    used = _used_levels(levels, symmetric)

    def error(lows: Array, highs: Array) -> Array:
        lowest, steps = _nudged(lows, highs, used)
        return quantization_error(density, lowest, steps, used)

    return _searched(observed, error, used, symmetric)


def entropy(statistics: TensorStatistics, levels: int, symmetric: bool = False) -> Range:
    """The range whose clipped and merged distribution diverges least from the true one (see ``Divergence`` for formula
    and sources).

    ``levels`` and ``symmetric`` as for ``mse``. A histogram has fewer bins than int16 has levels and cannot tell its
    ranges apart: there the observed range comes back. A few values far out are outliers of every range that is looked
    at. Raises as ``mse`` does.
    """
    observed, density = _distribution(statistics)
    used = _used_levels(levels, symmetric)
    if used > BINS_PER_SIDE:
        return _searched(observed, _indifferent, used, symmetric)
    core = _core_of(statistics, observed)
    if core is not None:
        observed, density = core.range, core.density
    divergence = Divergence(density, used, (core.below, core.above) if core else (0, 0))

    def lost(lows: Array, highs: Array) -> Array:
        lowest, steps = _nudged(lows, highs, used)
        return divergence.of(lowest, lowest + steps * (used - 1))

    return _searched(observed, lost, used, symmetric, jagged=True)


def _observed(statistics: TensorStatistics) -> Range:
    if statistics.min is None or statistics.max is None:
        raise RangeError("no values", "no value was seen in calibration", None)
    observed = Range(statistics.min, statistics.max)
    if math.isnan(observed.min) or math.isnan(observed.max):
        reason = f"NaN in {statistics.non_finite_samples} of {statistics.samples} samples"
        raise RangeError("nan", reason, observed)
    if math.isinf(observed.min) or math.isinf(observed.max):
        reason = f"infinite values in {statistics.non_finite_samples} of {statistics.samples} samples"
        raise RangeError("infinite", reason, observed)
    return observed


def _zero_width(observed: Range) -> RangeError:
    reason = f"every value lies in [{observed.min:g}, {observed.max:g}]: no width to divide into quantization steps"
    return RangeError("zero width", reason, observed)


def _distribution(statistics: TensorStatistics) -> tuple[Range, Density]:
    """The observed range and the density of the non-zero values; raises as the methods that call it say."""
    observed = _observed(statistics)
    if statistics.histogram is None:
        raise ValueError("this method needs a histogram: gather it with Gather(histograms=True), or use minmax")
    if max(observed.max, 0.0) - min(observed.min, 0.0) < _NARROWEST:
        raise _zero_width(observed)
    return observed, density_of(statistics.histogram, observed.min, observed.max)


@dataclass(frozen=True)
class _Core:
    """The distribution but for the few values far out, and how many of these lie ``below`` and ``above`` its range."""

    range: Range
    density: Density
    below: int
    above: int


def _core_of(statistics: TensorStatistics, observed: Range) -> _Core | None:
    whole = statistics.histogram
    core = None if whole is None else whole.core
    if whole is None or core is None:
        return None
    held = Range(max(observed.min, -core.limit), min(observed.max, core.limit))
    left_out = (whole.nonzero_counts[side].sum() - core.nonzero_counts[side].sum() for side in _SIDES)
    below, above = map(int, left_out)
    return _Core(held, density_of(core, held.min, held.max), below, above)


def _used_levels(levels: int, symmetric: bool) -> int:
    """The levels in use: all of them, or the odd number that has as many below zero as above it (65535 of int16's)."""
    return levels - 1 + levels % 2 if symmetric else levels


def _nudged(lows: Array, highs: Array, levels: int) -> tuple[Array, Array]:
    """Lowest representable value and step for ranges ``[low, high]``, each ``(K,)``, with 0.0 exactly representable.

    step = (high - low) / (levels - 1); zero = round(-low / step), the number of levels below 0.0;
    lowest = -zero * step.
    """
    steps = (highs - lows) / (levels - 1)
    zeros = np.clip(np.rint(-lows / steps), 0, levels - 1)
    return 0.0 - zeros * steps, steps


def _searched(observed: Range, cost: Cost, levels: int, symmetric: bool, jagged: bool = False) -> Range:
    low, high = min(observed.min, 0.0), max(observed.max, 0.0)
    if symmetric:
        high = max(-low, high)
        low = -high
    ends = cheapest_range(low, high, cost, tied=symmetric, jagged=jagged)
    lowest, steps = _nudged(np.array([ends[0]]), np.array([ends[1]]), levels)
    return Range(float(lowest[0]), float(lowest[0] + steps[0] * (levels - 1)))


def _indifferent(lows: Array, highs: Array) -> Array:
    """The same cost for every range: the full one wins."""
    return np.zeros(np.broadcast_shapes(lows.shape, highs.shape))


def _lower_end(whole: Density, core: _Core | None, cut: float) -> float:
    """The value that ``cut`` of the values lie below."""
    if core is not None and core.below <= cut:
        return _quantile(core.density, cut - core.below)
    return _quantile(whole, cut)


def _upper_end(whole: Density, core: _Core | None, cut: float) -> float:
    """The value that ``cut`` of the values lie above."""
    if core is not None and core.above <= cut:
        return _quantile(core.density, core.density.total - (cut - core.above))
    return _quantile(whole, whole.total - cut)


def _quantile(density: Density, mass: float) -> float:
    """The smallest x with a mass of at least ``mass`` (0 .. total) at or below it."""
    bin_ = min(int(np.searchsorted(density.cdf[1:], mass)), len(density.slopes) - 1)
    slope = float(density.slopes[bin_])
    start = float(density.edges[bin_])
    return start + (mass - float(density.cdf[bin_])) / slope if slope > 0 else start
