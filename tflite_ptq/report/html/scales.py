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
    """The largest unit in which the smallest figure is not below 1; on a logarithmic axis, the middle of the axis."""
    return _fitting(figures_ns, _TIMES)


def size_unit(figures_bytes: Sequence[float]) -> Unit:
    """The same for sizes."""
    return _fitting(figures_bytes, _SIZES)


def axis(what: str, unit: Unit, figures: Sequence[float]) -> dict[str, object]:
    """``title``, ``scale`` and ``axis`` of a Vega-Lite encoding of ``figures / unit.factor``: logarithmic where the
    largest figure is more than eight times the smallest, which the title says; else linear, not from 0."""
    if not _logarithmic(figures):
        scale: dict[str, object] = {"zero": False, "nice": True, "padding": 14}
        return {"title": f"{what} ({unit.name})", "scale": scale, "axis": {"tickCount": 5}}
    # Vega's own ticks of a logarithmic axis are a line for each digit.
    values = log_ticks(min(figures) / unit.factor, max(figures) / unit.factor)
    ticks = {"values": values, "labelOverlap": "greedy", "labelSeparation": 4}
    scale = {"type": "log", "nice": False, "padding": 14}
    return {"title": f"{what} ({unit.name}, logarithmic)", "scale": scale, "axis": ticks}


def log_ticks(low: float, high: float) -> list[float]:
    """1, 2 and 5 of each decade from ``low`` (above 0) to ``high``; only 1 where that makes more than eight."""
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for digits in ((1, 2, 5), (1,)):
        ticks = [digit * 10.0**decade for decade in decades for digit in digits]
        within = [tick for tick in ticks if low <= tick <= high]
        if len(within) <= _MOST_TICKS:
            break
    return within


def _logarithmic(figures: Sequence[float]) -> bool:
    # Logarithms need figures above 0.
    return min(figures) > 0 and max(figures) > _SPAN * min(figures)


def _fitting(figures: Sequence[float], units: Sequence[tuple[float, str]]) -> Unit:
    typical = math.sqrt(min(figures) * max(figures)) if _logarithmic(figures) else min(figures)
    factor, name = next((unit for unit in units if typical >= unit[0]), units[-1])
    return Unit(factor, name)
