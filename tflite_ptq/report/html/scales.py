"""Axes that people can read: units chosen by magnitude, logarithmic where figures span decades. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

_TIMES = ((1e9, "s"), (1e6, "ms"), (1e3, "µs"), (1.0, "ns"))
_SIZES = ((1024.0**2, "MiB"), (1024.0, "KiB"), (1.0, "B"))
_SPAN = 8.0
_MOST_TICKS = 8


@dataclass(frozen=True)
class Unit:
    """What an axis counts in: figures are divided by ``factor``."""

    factor: float
    name: str


def time_unit(figures_ns: Sequence[float]) -> Unit:
    """The largest unit in which the smallest figure is not below 1."""
    return _fitting(figures_ns, _TIMES)


def size_unit(figures_bytes: Sequence[float]) -> Unit:
    """The same for sizes."""
    return _fitting(figures_bytes, _SIZES)


def axis(figures: Sequence[float]) -> dict[str, object]:
    """``scale`` and ``axis`` of a Vega-Lite encoding: logarithmic where the largest figure is more than eight times the
    smallest, else linear, not from 0.

    Logarithms need figures above 0.
    """
    low, high = min(figures), max(figures)
    if low <= 0 or high <= _SPAN * low:
        return {"scale": {"zero": False, "nice": True, "padding": 14}, "axis": {"tickCount": 5}}
    # Vega's own ticks of a logarithmic axis are a line for each digit.
    ticks = {"values": log_ticks(low, high), "labelOverlap": "greedy", "labelSeparation": 4}
    return {"scale": {"type": "log", "nice": False, "padding": 14}, "axis": ticks}


def log_ticks(low: float, high: float) -> list[float]:
    """1, 2 and 5 of each decade from ``low`` (above 0) to ``high``; only 1 where that makes more than eight."""
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for digits in ((1, 2, 5), (1,)):
        ticks = [digit * 10.0**decade for decade in decades for digit in digits]
        within = [tick for tick in ticks if low <= tick <= high]
        if len(within) <= _MOST_TICKS:
            break
    return within


def _fitting(figures: Sequence[float], units: Sequence[tuple[float, str]]) -> Unit:
    smallest = min(figures)
    factor, name = next((unit for unit in units if smallest >= unit[0]), units[-1])
    return Unit(factor, name)
