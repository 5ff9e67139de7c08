"""What the calibrated ranges of activations say about themselves: saturation, outliers, ill-matched concatenations.

From numbers only. Ranges are real values ``(min, max)``, widened to hold 0 as the quantizer widens them.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from tflite_ptq.data.finding import NAMED, Finding, counted
from tflite_ptq.quantize.calibration.histogram import Histogram
from tflite_ptq.quantize.calibration.settling import Range, with_zero

INT8_LEVELS = 256

_SATURATED_NOTED = 0.001  # shares of a tensor's values: ten times what the percentile 99.99 clips by intent
_SATURATED_BAD = 0.01
_CORE = 0.9999
_OUTLIER_NOTED = 4.0  # the full range over the core: two of the eight bits serve one value in ten thousand
_OUTLIER_BAD = 16.0
_CONCAT_NOTED = 4.0  # the output's range over an input's
_CONCAT_BAD = 16.0


@dataclass(frozen=True)
class Observed:
    """The values of one tensor over many samples: ``counts`` ``(B,)`` between ascending ``edges`` ``(B + 1,)``, their
    exact ``min`` and ``max``, and how many are exactly zero. Within a bin the others are taken as evenly spread."""

    counts: NDArray[np.int64]
    edges: NDArray[np.float64]
    min: float
    max: float
    zeros: int = 0

    def clipped(self, low: float, high: float) -> tuple[float, float]:
        """The shares (0..1) of the values below ``low <= 0`` and above ``high >= 0``; exactly 0 where there is none.

        Zero lies in every such range, so exact zeros are never clipped.
        """
        total = int(self.counts.sum())
        counts = self.counts.copy()
        if self.zeros:
            counts[int(np.searchsorted(self.edges, 0.0, side="right")) - 1] -= self.zeros
        edges, running = self._cumulative(counts)
        below = float(np.interp(low, edges, running)) if low > self.min else 0.0
        above = float(running[-1] - np.interp(high, edges, running)) if high < self.max else 0.0
        return below / total, above / total

    def quantile(self, share: float) -> float:
        """The value that ``share`` (0..1) of the values do not exceed, within a bin's width. Needs a value."""
        edges, running = self._cumulative(self.counts)
        rank = share * float(running[-1])
        # The first bin that reaches the rank: np.interp alone would pick any end of a run of empty bins.
        bin_ = max(int(np.searchsorted(running, rank, side="left")) - 1, 0)
        inside = float(running[bin_ + 1] - running[bin_])
        part = (rank - float(running[bin_])) / inside if inside else 0.0
        return float(edges[bin_] + part * (edges[bin_ + 1] - edges[bin_]))

    def _cumulative(self, counts: NDArray[np.int64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """The edges, cut to min and max, and the number of values below each."""
        running = np.concatenate(([0.0], np.cumsum(counts, dtype=np.float64)))
        return np.clip(self.edges, self.min, self.max), running


@dataclass(frozen=True)
class Saturation:
    """The shares (0..1) of a tensor's observed values below and above its calibrated range."""

    tensor: str
    below: float
    above: float

    @property
    def share(self) -> float:
        """The share clipped on either side."""
        return self.below + self.above


@dataclass(frozen=True)
class Outlier:
    """``ratio``: the width of [min, max] over that of the ``core``, the 0.01 to the 99.99 percentile, both holding 0;
    infinite where the core has no width."""

    tensor: str
    span: Range
    core: Range
    ratio: float


@dataclass(frozen=True)
class Concatenation:
    """A CONCATENATION by the name of its output: the calibrated range of each input by name, and the output's."""

    name: str
    inputs: Mapping[str, Range]
    output: Range


def observed(histogram: Histogram, low: float, high: float) -> Observed:
    """What a histogram counted, with the exact minimum ``low`` and maximum ``high``."""
    return Observed(histogram.counts, histogram.edges, low, high, histogram.zeros)


def saturation(ranges: Mapping[str, Range], seen: Mapping[str, Observed]) -> tuple[Saturation, ...]:
    """How much of each observed tensor its calibrated range clips, the most first; tensors in both mappings only.

    A value counts from half an int8 step, (max - min) / 255 / 2, beyond the range: up to there rounding to the
    outermost level errs no more than rounding anywhere else.
    """
    found: list[Saturation] = []
    for name, values in seen.items():
        if name in ranges and values.counts.any():
            low, high = with_zero(ranges[name])
            half_step = (high - low) / (INT8_LEVELS - 1) / 2
            found.append(Saturation(name, *values.clipped(low - half_step, high + half_step)))
    return tuple(sorted(found, key=lambda item: -item.share))


def saturated(found: Iterable[Saturation], *, narrowed: bool) -> tuple[Finding, ...]:
    """At most one finding: the tensors that evaluation samples clip at more than one value in a thousand.

    ``narrowed``: the recipe asks for ranges narrower than what calibration saw.
    """
    noted = sorted((item for item in found if item.share > _SATURATED_NOTED), key=lambda item: -item.share)
    if not noted:
        return ()
    activations = "1 activation saturates" if len(noted) == 1 else f"{len(noted)} activations saturate"
    return (
        Finding(
            _severity(noted[0].share, _SATURATED_BAD),
            f"{activations} on evaluation samples, up to {noted[0].share:.2%} of the values",
            tuple(f"{item.tensor}: {item.share:.2%}" for item in noted[:NAMED]),
            "calibrate on more samples, or on samples more like these"
            + (", or on a wider range (method minmax)" if narrowed else ""),
        ),
    )


def outliers(seen: Mapping[str, Observed], at_least: float = _OUTLIER_NOTED) -> tuple[Outlier, ...]:
    """The tensors whose range is at least ``at_least`` times as wide as that of nearly all values, the most first."""
    found = [_outlier(name, values) for name, values in seen.items() if values.counts.any()]
    return tuple(sorted((item for item in found if item.ratio >= at_least), key=lambda item: -item.ratio))


def extreme(found: Sequence[Outlier]) -> tuple[Finding, ...]:
    """At most one finding: the tensors with outliers, and the levels that all other values share."""
    if not found:
        return ()
    worst = max(found, key=lambda item: item.ratio)
    return (
        Finding(
            _severity(worst.ratio, _OUTLIER_BAD),
            f"{counted(len(found), 'activation')} with extreme outliers: 99.98 % of the values share a small part of "
            f"the range, {_levels(worst.ratio)} at worst",
            tuple(
                f"{item.tensor}: {_span(item.span)}, nearly all within {_span(item.core)}"
                for item in sorted(found, key=lambda item: -item.ratio)[:NAMED]
            ),
            "try the method percentile or mse for them, or keep the layer in float (exclude)",
        ),
    )


def ill_matched(concatenations: Iterable[Concatenation]) -> tuple[Finding, ...]:
    """One finding for each concatenation with an input much narrower than its output, the worst first.

    In TensorFlow Lite the inputs of an int8 CONCATENATION must have the output's scale and zero point (operator
    specification of 8-bit quantization), so a narrow input gets few of the levels.
    """
    found: list[tuple[float, Finding]] = []
    for concatenation in concatenations:
        narrow = sorted(
            (
                (_width(concatenation.output) / _width(span), name, span)
                for name, span in concatenation.inputs.items()
                if _width(span) > 0
            ),
            key=lambda item: -item[0],
        )
        noted = [item for item in narrow if item[0] >= _CONCAT_NOTED]
        if noted:
            worst = noted[0][0]
            text = (
                f"concatenation {concatenation.name}: its inputs have very different ranges, all quantized as "
                f"{_span(concatenation.output)}; the narrowest gets {_levels(worst)}"
            )
            where = tuple(f"{name}: {_span(span)}" for _, name, span in noted[:NAMED])
            step = "scale the inputs alike in the model, or keep the concatenation in float (exclude)"
            found.append((worst, Finding(_severity(worst, _CONCAT_BAD), text, where, step)))
    return tuple(finding for _, finding in sorted(found, key=lambda item: -item[0]))


def _outlier(name: str, values: Observed) -> Outlier:
    core = values.quantile(1 - _CORE), values.quantile(_CORE)
    span = values.min, values.max
    width, full = _width(core), _width(span)
    # A tensor that is zero but for a few values has a core of no width; one that is zero throughout no outliers.
    ratio = full / width if width else math.inf if full else 1.0
    return Outlier(name, span, core, ratio)


def _severity(value: float, bad: float) -> Literal["warning", "info"]:
    return "warning" if value >= bad else "info"


def _levels(ratio: float) -> str:
    return f"about {max(round(INT8_LEVELS / ratio), 1)} of the {INT8_LEVELS} levels of int8"


def _width(span: Range) -> float:
    low, high = with_zero(span)
    return high - low


def _span(span: Range) -> str:
    return f"{span[0]:.4g}..{span[1]:.4g}"
