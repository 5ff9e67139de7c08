"""The two ways to look at the activations of sample after sample: at all of their values, or at their limits alone."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Protocol, cast

import numpy as np
from numpy.typing import NDArray

from tflite_ptq.model.editing import Editable
from tflite_ptq.model.reductions import reducible
from tflite_ptq.model.rows import independent_rows
from tflite_ptq.model.tap import Tap, watching
from tflite_ptq.quantize.calibration.statistics import Gather, TensorStatistics

Array = NDArray[np.generic]

_ROWS = 256  # samples whose limits are kept before they are folded into one
AT_ONCE = 32  # divides _ROWS; a dense layer's weights are read once for so many samples, and Python is entered once


@dataclass(frozen=True)
class Limits:
    """Minimum and maximum of each tensor, ``(T,)``, over the first ``samples`` samples of a shard."""

    samples: int
    low: NDArray[np.float64]
    high: NDArray[np.float64]


@dataclass(frozen=True)
class Seen:
    """What a shard saw: the statistics of each tensor watched, and their limits after the numbers of samples noted."""

    statistics: Sequence[TensorStatistics]
    limits: Sequence[Limits]


class Observer(Protocol):
    """Runs samples through an interpreter of its own; takes one shard after the other."""

    @property
    def refused(self) -> str | None:
        """As a tap's."""

    def start(self, noted: Collection[int]) -> None:
        """A new shard, whose limits are to be noted after so many of its samples."""

    def take(self, sample: Sequence[Array]) -> None:
        """Run one sample: the model's inputs in order."""

    def finish(self) -> Seen:
        """What was seen since ``start``; the last limits are those of all samples."""


def observers(model: Editable, watched: Sequence[int], gather: Gather) -> Callable[[], Observer]:
    """What makes an observer of the float activations ``watched``; the model is packed once for all of them.

    Where nothing but limits is asked for, the model finds them itself; a scalar or an empty tensor among those watched
    is looked at from outside, with all the others.
    """
    shapes = [model.shape(tensor) for tensor in watched]
    if gather == Gather() and watched and all(map(reducible, shapes)):
        content, reduced = model.reducing(watched)
        order = reduced.order
        sizes = [math.prod(model.shape(tensor)) for tensor in order]
        places = [order.index(tensor) for tensor in watched]
        at_once = AT_ONCE if reduced.stacked and independent_rows(model) else 1
        stacks = [(at_once, *model.shape(tensor)[1:]) for tensor in model.inputs] if at_once > 1 else []
        return lambda: _LimitsObserver(
            Tap(content, model.inputs, (reduced.output,), stacks), stacks, sizes, places, lambda: watching(model, order)
        )
    content = model.showing(watched)
    return lambda: _ValuesObserver(Tap(content, model.inputs, watched), len(watched), gather)


class _ValuesObserver:
    """Reads every value of every activation."""

    def __init__(self, tap: Tap, watched: int, gather: Gather) -> None:
        self._tap, self._watched, self._gather = tap, watched, gather
        self.refused = tap.refused
        self.start(())

    def start(self, noted: Collection[int]) -> None:
        self._noted, self._samples = frozenset(noted), 0
        self._statistics = [TensorStatistics(self._gather) for _ in range(self._watched)]
        self._limits: list[Limits] = []

    def take(self, sample: Sequence[Array]) -> None:
        self._tap.run(sample)
        for position, one in enumerate(self._statistics):
            one.update(cast("NDArray[np.float32]", self._tap.view(position)))
        self._samples += 1
        if self._samples in self._noted:
            self._note()

    def finish(self) -> Seen:
        if self._samples and self._samples not in self._noted:
            self._note()
        return Seen(self._statistics, self._limits)

    def _note(self) -> None:
        self._limits.append(limits_of(self._statistics))


class _LimitsObserver:
    """Reads the limits that the model finds itself, and the values only where a sum says that one is not finite.

    ``stacks`` are the inputs' shapes where the model runs several samples at once, all float32; else there are none.
    ``sizes`` of the tensors in the model's order, which ``exposed`` shows in that order too; ``places`` there of the
    tensors in the order to tell them in.
    """

    def __init__(
        self,
        tap: Tap,
        stacks: Sequence[Sequence[int]],
        sizes: Sequence[int],
        places: list[int],
        exposed: Callable[[], Tap],
    ) -> None:
        self._tap, self._sizes, self._places, self._exposed = tap, sizes, places, exposed
        self.refused = tap.refused
        self._closer: Tap | None = None
        self._stacks = [np.zeros(shape, np.float32) for shape in stacks]
        self._at_once = stacks[0][0] if stacks else 1
        self._rows = np.empty((_ROWS, 3 * len(sizes)), np.float32)
        self._zeros = np.zeros(3 * len(sizes), np.float32)
        self.start(())

    def start(self, noted: Collection[int]) -> None:
        self._noted = sorted(noted)
        self._samples = self._filled = self._waiting = 0
        self._low = np.full(len(self._sizes), np.inf, np.float32)
        self._high = np.full(len(self._sizes), -np.inf, np.float32)
        self._at = np.zeros((2, len(self._sizes)), np.int64)
        self._non_finite = np.zeros(len(self._sizes), np.int64)
        self._limits: list[Limits] = []

    def take(self, sample: Sequence[Array]) -> None:
        if self._at_once == 1:
            self._see(sample, 1)
            return
        for stack, value in zip(self._stacks, sample, strict=True):
            stack[self._waiting] = value[0]
        self._waiting += 1
        if self._waiting == self._at_once:
            self._see_stacks()

    def _see_stacks(self) -> None:
        if self._waiting:
            self._see(self._stacks, self._waiting)
            self._waiting = 0

    def _see(self, samples: Sequence[Array], count: int) -> None:
        """Runs them; ``count`` of their rows are samples that were not seen yet."""
        self._tap.run(samples)
        rows = self._rows[self._filled : self._filled + count]
        rows[:] = self._tap.view(0).reshape(-1, self._at_once).T[:count]
        with np.errstate(invalid="ignore"):
            doubtful = np.flatnonzero(rows.dot(self._zeros))  # NaN where a number is NaN or infinite
        for i in doubtful.tolist():
            self._look_closer([value[i : i + 1] for value in samples] if self._at_once > 1 else samples, rows[i])
        self._filled += count
        if self._filled == _ROWS:
            self._fold()

    def finish(self) -> Seen:
        self._see_stacks()
        self._fold()
        if self._samples and (not self._limits or self._limits[-1].samples != self._samples):
            self._note(self._samples, self._low, self._high)
        statistics = [TensorStatistics(Gather()) for _ in self._sizes]
        if self._samples:
            limits, at = zip(self._low.tolist(), self._high.tolist(), strict=True), zip(*self._at.tolist(), strict=True)
            for one, size, seen, places, non_finite in zip(
                statistics, self._sizes, limits, at, self._non_finite.tolist(), strict=True
            ):
                one.add_limits(self._samples, size, seen, places, non_finite)
        return Seen([statistics[place] for place in self._places], self._limits)

    def _look_closer(self, sample: Sequence[Array], row: NDArray[np.float32]) -> None:
        """The exact limits, NaN where one is; a sum may also have overflowed over finite values."""
        count = len(self._sizes)
        self._closer = self._closer or self._exposed()
        self._closer.run(sample)
        for i in np.flatnonzero(~np.isfinite(row[2 * count :])).tolist():
            row[i], row[count + i] = self._closer.view(i).min(), self._closer.view(i).max()
            self._non_finite[i] += not np.isfinite(row[[i, count + i]]).all()

    def _fold(self) -> None:
        count, rows = len(self._sizes), self._rows[: self._filled]
        if not self._filled:
            return
        np.minimum(rows[0, :count], self._low, out=rows[0, :count])
        np.maximum(rows[0, count : 2 * count], self._high, out=rows[0, count : 2 * count])
        low = np.minimum.accumulate(rows[:, :count], axis=0)
        high = np.maximum.accumulate(rows[:, count : 2 * count], axis=0)
        for noted in self._noted:
            if self._samples < noted <= self._samples + self._filled:
                self._note(noted, low[noted - self._samples - 1], high[noted - self._samples - 1])
        lower, higher = low[-1] < self._low, high[-1] > self._high
        self._at[0, lower] = self._samples + rows[:, :count].argmin(axis=0)[lower]
        self._at[1, higher] = self._samples + rows[:, count : 2 * count].argmax(axis=0)[higher]
        self._low, self._high = low[-1], high[-1]
        self._samples += self._filled
        self._filled = 0

    def _note(self, samples: int, low: NDArray[np.float32], high: NDArray[np.float32]) -> None:
        low, high = low[self._places], high[self._places]
        self._limits.append(Limits(samples, low.astype(np.float64), high.astype(np.float64)))


def limits_of(statistics: Sequence[TensorStatistics]) -> Limits:
    """The limits so far; inf and -inf before the first value."""
    low = np.array([np.inf if one.min is None else one.min for one in statistics])
    high = np.array([-np.inf if one.max is None else one.max for one in statistics])
    return Limits(statistics[0].samples if statistics else 0, low, high)
