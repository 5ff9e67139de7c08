"""Intervals of a difference and of a ratio, from the intervals of the two figures. Pure.

MOVER, the method of variance estimates recovery (Zou and Donner 2008, Statistics in Medicine 27:1693; for ratios on
the logarithms): it takes asymmetric intervals as they are. It supposes independent estimates. Two runs mostly share
their evaluation samples, which makes the true interval narrower: what is called a difference here is one.
"""

from __future__ import annotations

import math

from tflite_ptq.result import Interval


def of_difference(a: float, a_interval: Interval | None, b: float, b_interval: Interval | None) -> Interval | None:
    """The interval of ``b - a``; ``None`` where one has none or their confidences differ."""
    if a_interval is None or b_interval is None or a_interval.confidence != b_interval.confidence:
        return None
    below = math.hypot(b - b_interval.low, a_interval.high - a)
    above = math.hypot(b_interval.high - b, a - a_interval.low)
    return Interval(low=b - a - below, high=b - a + above, confidence=a_interval.confidence)


def of_ratio(a: float, a_interval: Interval | None, b: float, b_interval: Interval | None) -> Interval | None:
    """The interval of ``b / a`` for positive figures; ``None`` where one has none or is not positive throughout."""
    if a_interval is None or b_interval is None or min(a, b, a_interval.low, b_interval.low) <= 0:
        return None
    found = of_difference(math.log(a), _log(a_interval), math.log(b), _log(b_interval))
    if found is None:
        return None
    return Interval(low=math.exp(found.low), high=math.exp(found.high), confidence=found.confidence)


def _log(interval: Interval) -> Interval:
    return Interval(low=math.log(interval.low), high=math.log(interval.high), confidence=interval.confidence)
