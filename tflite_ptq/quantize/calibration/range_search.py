"""The search for the range of least cost among those inside the observed one: a coarse grid, then finer ones.

A cost with many dents (``jagged``) is looked at along a finer grid of each end in between, where a coarse one passes
over the lowest.

Both ends move on their own, by factors of the observed minimum and maximum, since an activation may have its outliers
on one side only. The spacing is geometric: with rare outliers the best range can be a hundredth of the observed one.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Cost = Callable[[Array, Array], Array]
"""Lower ends (<= 0) and upper ends (>= 0) to costs, each ``(K,)``; an infinite cost forbids a range."""

_COARSE = 20
_SMALLEST = 1 / 1024
_ROUNDS = 3
_REACH = 3
_FINE = 1024


def cheapest_range(
    low: float, high: float, cost: Cost, tied: bool = False, jagged: bool = False
) -> tuple[float, float]:
    """The ends of the cheapest range found with ``low <= lower end <= 0 <= upper end <= high``.

    ``low <= 0 <= high``, not both zero. ``tied`` moves both ends by one factor: a symmetric range stays symmetric.
    The full range is among the candidates and wins ties, so the result never costs more. Deterministic.
    """
    best, best_cost = (1.0, 1.0), np.inf

    def look(below: Array, above: Array) -> None:
        nonlocal best, best_cost
        pairs = _pairs(below if low < 0 else np.ones(1), above if high > 0 else np.ones(1), tied)
        costs = cost(low * pairs[0], high * pairs[1])
        found = int(np.argmin(costs))
        if costs[found] < best_cost:
            best, best_cost = (float(pairs[0][found]), float(pairs[1][found])), float(costs[found])

    spacing = _SMALLEST ** (1 / (_COARSE - 1))
    factors = spacing ** np.arange(_COARSE, dtype=np.float64)
    look(factors, factors)
    if jagged:
        fine = np.arange(1, _FINE + 1) / _FINE
        spacing = 1 - 1 / _FINE
        for _ in range(1 if tied or low == 0 or high == 0 else _ROUNDS):
            look(fine, fine if tied else np.array([best[1]]))
            look(fine if tied else np.array([best[0]]), fine)
    for _ in range(_ROUNDS):
        spacing = spacing ** (1 / _REACH)
        steps = spacing ** np.arange(-_REACH, _REACH + 1, dtype=np.float64)
        look(np.minimum(best[0] * steps, 1.0), np.minimum(best[1] * steps, 1.0))
    return low * best[0], high * best[1]


def _pairs(below: Array, above: Array, tied: bool) -> tuple[Array, Array]:
    """Every lower factor with every upper one, or each with itself where the ends are tied; two arrays ``(K,)``."""
    if tied:
        longer = above if above.size > 1 else below
        return longer, longer
    return np.repeat(below, above.size), np.tile(above, below.size)
