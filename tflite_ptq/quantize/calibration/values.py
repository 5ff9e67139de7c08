"""Everything that can be gathered of an activation, from all of its values."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import cast

import numpy as np
from numpy.typing import NDArray

from tflite_ptq.model.editing import Editable
from tflite_ptq.model.tap import Tap
from tflite_ptq.quantize.calibration.observe import Array, Way
from tflite_ptq.quantize.calibration.settling import CHECKPOINTS, Growing, Growth, checkpoint_counts
from tflite_ptq.quantize.calibration.statistics import Gather, TensorStatistics

Reals = NDArray[np.float64]

_TRIAL = 4
_PARTS = 4  # beside the trial; each takes as much memory as the whole until it is merged


@dataclass(frozen=True)
class Seen:
    """The statistics of each tensor over a part; its limits, (T,) each, after some numbers of the part's samples."""

    statistics: Sequence[TensorStatistics]
    noted: Sequence[tuple[int, Reals, Reals]]


def values_way(model: Editable, watched: Sequence[int], gather: Gather, samples: int) -> Way[Seen]:
    """The model is packed once for all observers."""
    content = model.showing(watched)
    trial = min(_TRIAL, samples)
    cuts = sorted({0, *(trial + (samples - trial) * number // _PARTS for number in range(_PARTS + 1))})
    parts = [range(start, end) for start, end in pairwise(cuts)]
    return Way(
        lambda: _ValuesObserver(
            Tap(content, model.inputs, watched), len(watched), gather, checkpoint_counts(samples, CHECKPOINTS)
        ),
        _Values([model.name(tensor) for tensor in watched]),
        parts,
    )


class _ValuesObserver:
    """Reads every value of every activation; limits are ``noted`` after so many of all samples."""

    def __init__(self, tap: Tap, watched: int, gather: Gather, noted: Sequence[int]) -> None:
        self._tap, self._watched, self._gather, self._noted = tap, watched, gather, frozenset(noted)
        self.refused = tap.refused

    def see(self, part: range, samples: Iterable[Sequence[Array]]) -> Seen:
        statistics = [TensorStatistics(self._gather) for _ in range(self._watched)]
        noted: list[tuple[int, Reals, Reals]] = []
        for count, sample in enumerate(samples, 1):
            self._tap.run(sample)
            for position, one in enumerate(statistics):
                one.update(cast("NDArray[np.float32]", self._tap.view(position)))
            if part.start + count in self._noted:
                noted.append((count, *_limits_of(statistics)))
        return Seen(statistics, noted)


class _Values:
    """Merges the statistics of parts into those of all: sums depend on the order in their last bits."""

    def __init__(self, names: Sequence[str]) -> None:
        self._merged: Sequence[TensorStatistics] = ()
        self._growing = Growing(names)

    def add(self, seen: Seen) -> None:
        before = self._merged[0].samples if self._merged else 0
        least, most = _limits_of(self._merged) if self._merged else (np.inf, -np.inf)
        for samples, low, high in seen.noted:
            lows, highs = np.minimum(least, low)[np.newaxis], np.maximum(most, high)[np.newaxis]
            self._growing.note(np.array([before + samples]), lows, highs)
        if not self._merged:
            self._merged = seen.statistics
            return
        for whole, part in zip(self._merged, seen.statistics, strict=True):
            whole.merge(part)

    def result(self) -> tuple[Sequence[TensorStatistics], Growth]:
        samples = self._merged[0].samples if self._merged else 0
        return self._merged, self._growing.result(samples, *_limits_of(self._merged))


def _limits_of(statistics: Sequence[TensorStatistics]) -> tuple[Reals, Reals]:
    """The limits so far; inf and -inf before the first value."""
    low = np.array([np.inf if one.min is None else one.min for one in statistics])
    high = np.array([-np.inf if one.max is None else one.max for one in statistics])
    return low, high
