"""Axes that people can read: units chosen by magnitude, logarithmic where figures span decades. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

_TIMES = ((1e9, "s"), (1e6, "ms"), (1e3, "µs"), (1.0, "ns"))
_SIZES = ((1024.0**2, "MiB"), (1024.0, "KiB"), (1.0, "B"))
_SPAN = 8.0


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


def scale_of(figures: Sequence[float]) -> dict[str, object]:
    """A Vega-Lite scale: logarithmic where the largest is more than eight times the smallest, else linear, not from 0.

    Logarithms need figures above 0.
    """
    low, high = min(figures), max(figures)
    if low > 0 and high > _SPAN * low:
        return {"type": "log", "nice": False, "padding": 14}
    return {"zero": False, "nice": True, "padding": 14}


def _fitting(figures: Sequence[float], units: Sequence[tuple[float, str]]) -> Unit:
    smallest = min(figures)
    factor, name = next((unit for unit in units if smallest >= unit[0]), units[-1])
    return Unit(factor, name)
