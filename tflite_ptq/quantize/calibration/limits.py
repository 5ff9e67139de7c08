"""The limits of every activation, found by the model itself: Python sees three numbers of each tensor a sample."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
from numpy.typing import NDArray

from tflite_ptq.model.editing import Editable
from tflite_ptq.model.rows import independent_rows
from tflite_ptq.model.tap import Tap, watching
from tflite_ptq.quantize.calibration.observe import Array, Way
from tflite_ptq.quantize.calibration.settling import CHECKPOINTS, Growing, Growth, checkpoint_counts
from tflite_ptq.quantize.calibration.statistics import Gather, TensorStatistics

Reals = NDArray[np.float32]

AT_ONCE = 32  # a dense layer's weights are read once for so many samples, and Python is entered once
_A_PART = 8  # few enough that no thread waits long for another at the end
_ROWS = 256  # samples whose limits are kept before they are folded into one


@dataclass(frozen=True)
class Seen:
    """Of each sample of a part, minimum, maximum and sum of every tensor: ``rows`` (n, 3 * T); how many samples of each
    tensor were ``non_finite``."""

    rows: Reals
    non_finite: NDArray[np.int64]


def limits_way(model: Editable, watched: Sequence[int], samples: int) -> Way[Seen]:
    """``watched`` are reducible activations, at least one; the model is packed once for all observers."""
    content, reduced = model.reducing(watched)
    order = reduced.order
    at_once = AT_ONCE if reduced.stacked and independent_rows(model) else 1
    stacks = [(at_once, *model.shape(tensor)[1:]) for tensor in model.inputs] if at_once > 1 else []
    size = max(at_once, _A_PART)
    return Way(
        lambda: _LimitsObserver(
            Tap(content, model.inputs, (reduced.output,), stacks), stacks, len(order), lambda: watching(model, order)
        ),
        _Limits(
            [math.prod(model.shape(tensor)) for tensor in order],
            [order.index(tensor) for tensor in watched],
            [model.name(tensor) for tensor in watched],
            checkpoint_counts(samples, CHECKPOINTS),
        ),
        [range(start, min(start + size, samples)) for start in range(0, samples, size)],
    )


class _LimitsObserver:
    """Reads the limits that the model finds, and the values only where a sum says that one is not finite.

    ``stacks`` are the inputs' shapes where the model runs several samples at once, all float32, and a part has no more;
    else there are none. ``exposed`` shows the ``tensors`` tensors themselves.
    """

    def __init__(self, tap: Tap, stacks: Sequence[Sequence[int]], tensors: int, exposed: Callable[[], Tap]) -> None:
        self._tap, self._tensors, self._exposed = tap, tensors, exposed
        self.refused = tap.refused
        self._closer: Tap | None = None
        self._stacks = [np.zeros(shape, np.float32) for shape in stacks]
        self._zeros = np.zeros(3 * tensors, np.float32)

    def see(self, part: range, samples: Iterable[Sequence[Array]]) -> Seen:
        non_finite = np.zeros(self._tensors, np.int64)
        with np.errstate(invalid="ignore"):
            rows = (self._together if self._stacks else self._singly)(samples, non_finite)
        return Seen(rows, non_finite)

    def _singly(self, samples: Iterable[Sequence[Array]], non_finite: NDArray[np.int64]) -> Reals:
        run, copy, zeros = self._tap.run, self._tap.copy, self._zeros
        rows: list[Reals] = []
        for sample in samples:
            run(sample)
            row = cast(Reals, copy(0))
            if row.dot(zeros) != 0:  # NaN where a number is NaN or infinite
                self._look_closer(sample, row, non_finite)
            rows.append(row)
        return np.array(rows, np.float32).reshape(-1, 3 * self._tensors)

    def _together(self, samples: Iterable[Sequence[Array]], non_finite: NDArray[np.int64]) -> Reals:
        """All in one run."""
        count = 0
        for sample in samples:
            for stack, value in zip(self._stacks, sample, strict=True):
                stack[count] = value[0]
            count += 1
        self._tap.run(self._stacks)
        rows = cast(Reals, self._tap.copy(0)).reshape(3 * self._tensors, -1).T[:count]
        for i in np.flatnonzero(rows.dot(self._zeros)).tolist():
            self._look_closer([stack[i : i + 1] for stack in self._stacks], rows[i], non_finite)
        return rows

    def _look_closer(self, sample: Sequence[Array], row: Reals, non_finite: NDArray[np.int64]) -> None:
        """The exact limits, NaN where one is; a sum may also have overflowed over finite values."""
        count = self._tensors
        self._closer = self._closer or self._exposed()
        self._closer.run(sample)
        for i in np.flatnonzero(~np.isfinite(row[2 * count :])).tolist():
            row[i], row[count + i] = self._closer.view(i).min(), self._closer.view(i).max()
            non_finite[i] += not np.isfinite(row[[i, count + i]]).all()


class _Limits:
    """Folds the samples' limits into those of all. ``sizes`` of the tensors in the model's order; ``places`` there of
    those to tell, which are called ``names``; limits are ``noted`` after so many samples, ascending."""

    def __init__(self, sizes: Sequence[int], places: Sequence[int], names: Sequence[str], noted: Sequence[int]) -> None:
        self._sizes, self._places = sizes, list(places)
        self._growing = Growing(names)
        self._noted = np.array(noted, np.int64)
        self._low = np.full(len(sizes), np.inf, np.float32)
        self._high = np.full(len(sizes), -np.inf, np.float32)
        self._low_at, self._high_at, self._non_finite = np.zeros((3, len(sizes)), np.int64)
        self._waiting: list[Reals] = []
        self._samples = self._unfolded = 0

    def add(self, seen: Seen) -> None:
        self._non_finite += seen.non_finite
        self._waiting.append(seen.rows)
        self._unfolded += len(seen.rows)
        if self._unfolded >= _ROWS:
            self._fold()

    def result(self) -> tuple[Sequence[TensorStatistics], Growth]:
        self._fold()
        places = self._places
        statistics = [TensorStatistics(Gather()) for _ in places]
        if self._samples:
            for one, place in zip(statistics, places, strict=True):
                one.add_limits(
                    self._samples,
                    self._sizes[place],
                    (float(self._low[place]), float(self._high[place])),
                    (int(self._low_at[place]), int(self._high_at[place])),
                    int(self._non_finite[place]),
                )
        return statistics, self._growing.result(self._samples, self._low[places], self._high[places])

    def _fold(self) -> None:
        if not self._unfolded:
            return
        rows, tensors = np.concatenate(self._waiting), len(self._sizes)
        lows, highs = rows[:, :tensors], rows[:, tensors : 2 * tensors]
        np.minimum(lows[0], self._low, out=lows[0])
        np.maximum(highs[0], self._high, out=highs[0])
        low, high = np.minimum.accumulate(lows, axis=0), np.maximum.accumulate(highs, axis=0)
        after = self._noted[(self._noted > self._samples) & (self._noted <= self._samples + len(rows))]
        if after.size:
            noted = after - self._samples - 1
            self._growing.note(after, low[noted][:, self._places], high[noted][:, self._places])
        lower, higher = low[-1] < self._low, high[-1] > self._high
        self._low_at[lower] = self._samples + lows.argmin(axis=0)[lower]
        self._high_at[higher] = self._samples + highs.argmax(axis=0)[higher]
        self._low, self._high = low[-1], high[-1]
        self._samples += len(rows)
        self._waiting, self._unfolded = [], 0
