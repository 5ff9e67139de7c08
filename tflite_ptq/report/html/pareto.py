"""Pareto fronts. Pure."""

from __future__ import annotations

from collections.abc import Sequence


def front(costs: Sequence[Sequence[float]]) -> list[bool]:
    """Whether each point is on the front: no other costs at most as much in everything and less in something.

    Each point has the same number of costs; lower is better in all. Equal points are on the front together.
    """
    return [not any(_dominates(other, point) for other in costs) for point in costs]


def _dominates(one: Sequence[float], other: Sequence[float]) -> bool:
    return all(a <= b for a, b in zip(one, other, strict=True)) and any(a < b for a, b in zip(one, other, strict=True))
