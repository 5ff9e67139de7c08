"""How the ranges of activations settle as samples are added: were there enough, or too few? Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tflite_ptq.data.finding import NAMED, Finding, counted

Range = tuple[float, float]

CHECKPOINTS = 52
TOLERANCE = 0.01  # of the width of the final range
# A range that still moved in the last fifth of the samples is not known to be settled.
_LAST_PART = 0.2
_GROWTH_BAD = 0.05


@dataclass(frozen=True)
class Growth:
    """Minimum and maximum of each tensor, in real values, over the first ``samples`` (N,) samples, ascending: ``low``
    and ``high`` (N, T), inf and -inf where there was no value yet."""

    names: Sequence[str]
    samples: NDArray[np.int64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]


class Growing:
    """Collects the rows of a ``Growth`` of the tensors called ``names``."""

    def __init__(self, names: Sequence[str]) -> None:
        self._names = names
        self._samples = [np.empty(0, np.int64)]
        self._low = [np.empty((0, len(names)))]
        self._high = [np.empty((0, len(names)))]

    def note(self, samples: NDArray[np.int64], low: NDArray[np.floating], high: NDArray[np.floating]) -> None:
        """The limits, (n, T) each, after ``samples`` (n,) samples, more than were noted before."""
        self._samples.append(samples)
        self._low.append(low.astype(np.float64))
        self._high.append(high.astype(np.float64))

    def result(self, samples: int, low: NDArray[np.floating], high: NDArray[np.floating]) -> Growth:
        """All that was noted, and the limits, (T,) each, of all ``samples`` samples."""
        if samples > max(self._samples[-1], default=0):
            self.note(np.array([samples]), low[np.newaxis], high[np.newaxis])
        return Growth(self._names, np.concatenate(self._samples), np.concatenate(self._low), np.concatenate(self._high))


@dataclass(frozen=True)
class Settling:
    """``enough``: the first checkpoint from which on every range stayed within the tolerance of the final one.
    ``growth``: how far each tensor that moved in the last fifth of the samples still moved then, as a share of the
    width of its final range, the most first; empty where all are settled. ``tensors`` counts those judged."""

    samples: int
    enough: int
    growth: Mapping[str, float]
    tensors: int


def checkpoint_counts(samples: int, most: int) -> tuple[int, ...]:
    """The numbers of samples, ascending, after which to note the ranges: all of few, else ``most`` evenly spread."""
    if samples <= most:
        return tuple(range(1, samples + 1))
    return tuple(math.ceil(samples * step / most) for step in range(1, most + 1))


def settling(growth: Growth, tolerance: float = TOLERANCE) -> Settling | None:
    """How the ranges settled; the last row of ``growth`` is of all samples. ``None`` without two rows or without a
    tensor of finite range.

    A tensor's distance at a row is the larger of |min - final min| and |max - final max|, as a share of
    final max - final min. All ranges are widened to hold 0 first, as the quantizer widens them.
    """
    if len(growth.samples) < 2:
        return None
    judged = np.flatnonzero(np.isfinite(growth.low[-1]) & np.isfinite(growth.high[-1]))
    if not judged.size:
        return None
    low, high = np.minimum(growth.low[:, judged], 0), np.maximum(growth.high[:, judged], 0)
    width = high[-1] - low[-1]
    moved = np.maximum(abs(low - low[-1]), abs(high - high[-1])) / np.where(width > 0, width, 1)
    unsettled = np.flatnonzero((moved > tolerance).any(axis=1))
    enough = growth.samples[unsettled[-1] + 1 if unsettled.size else 0]
    last = int(growth.samples[-1])
    # Compared with the last row before the last part begins: with few rows that part is longer.
    early = np.flatnonzero(growth.samples <= (1 - _LAST_PART) * last)
    late = moved[early[-1] if early.size else 0]
    most_first = [i for i in np.argsort(-late, kind="stable").tolist() if late[i] > tolerance]
    return Settling(last, int(enough), {growth.names[judged[i]]: float(late[i]) for i in most_first}, int(judged.size))


def settling_finding(settled: Settling) -> Finding:
    """What the user reads: how many samples would have done, or that the ranges are still growing."""
    if not settled.growth:
        return Finding(
            "info",
            f"{settled.enough} of your {settled.samples} samples would have done for the ranges: from there on each "
            f"stayed within {TOLERANCE:.0%} of its final width",
            (),
            "",
        )
    most = max(settled.growth.values())
    return Finding(
        "warning" if most > _GROWTH_BAD else "info",
        f"still growing at {settled.samples}: {len(settled.growth)} of {counted(settled.tensors, 'activation range')} "
        f"grew by up to {most:.1%} of their width over the last {_LAST_PART:.0%} of the samples",
        tuple(list(settled.growth)[:NAMED]),
        "add more (dataset.calibration.samples), or use a method that leaves outliers out (percentile, mse)",
    )


def with_zero(span: Range) -> Range:
    """Widened to hold zero, as the quantizer does: padding must be exact."""
    return min(span[0], 0.0), max(span[1], 0.0)
