"""Runs the float model over the calibration samples with every activation exposed, and gathers its statistics.

XNNPACK does the arithmetic. Samples are cut into a fixed number of shards, each with an interpreter and statistics of
its own; threads take shards, and shards are merged in order, so the result does not depend on the number of threads.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeAlias, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from tflite_ptq.errors import DataError
from tflite_ptq.model.editing import Editable
from tflite_ptq.model.tap import Tap
from tflite_ptq.quantize.calibration.settling import Checkpoint, checkpoint_counts
from tflite_ptq.quantize.calibration.statistics import Gather, TensorStatistics

Array: TypeAlias = NDArray[np.generic]
Sample: TypeAlias = Mapping[str, Array]
RefT = TypeVar("RefT")

SHARDS = 4


def collect(
    model: Editable,
    names: Sequence[str],
    refs: Sequence[RefT],
    stream: Callable[[Sequence[RefT]], Iterator[Sample]],
    gather: Gather,
    threads: int,
    progress: Callable[[int, int], None],
) -> tuple[dict[int, TensorStatistics], tuple[Checkpoint, ...]]:
    """Statistics of every activation of a float model, by tensor index, and how their ranges grew with the samples.

    ``names``: the inputs' names in the order of the model's inputs. ``stream`` yields the samples of some refs, keyed
    by input name, shapes with the batch; it is called once a shard, from several threads, and may skip samples.
    ``progress(done, total)`` is never called twice at once. Raises what ``stream`` raises, the first shard's first.
    """
    watched = model.activations()
    content = model.segment(0, len(model.nodes()), model.inputs, watched)
    counter = _Counter(len(refs), progress)

    def shard(number: int) -> tuple[list[TensorStatistics], list[_Limits]]:
        part = refs[len(refs) * number // SHARDS : len(refs) * (number + 1) // SHARDS]
        statistics = [TensorStatistics(gather) for _ in watched]
        limits: list[_Limits] = []
        if not part:
            return statistics, limits
        noted = frozenset(checkpoint_counts(len(part)))
        tap = Tap(content, model.inputs, watched)
        for sample in stream(part):
            tap.run([sample[name] for name in names])
            for position, one in enumerate(statistics):
                one.update(cast("NDArray[np.float32]", tap.view(position)))
            counter.step()
            seen = statistics[0].samples if statistics else 0
            if seen in noted:
                limits.append(_limits(statistics))
        if statistics and statistics[0].samples and statistics[0].samples not in noted:
            limits.append(_limits(statistics))
        return statistics, limits

    with ThreadPoolExecutor(max(1, min(threads, SHARDS))) as pool:
        shards = [job.result() for job in [pool.submit(shard, number) for number in range(SHARDS)]]
    merged = shards[0][0]
    checkpoints: list[Checkpoint] = []
    names_of = [model.name(tensor) for tensor in watched]
    for number, (statistics, limits) in enumerate(shards):
        before = _limits(merged) if number and merged[0].samples else None
        checkpoints += [_joined(names_of, before, one) for one in limits]
        if number and statistics[0].samples:
            for whole, part in zip(merged, statistics, strict=True):
                whole.merge(part)
    if not merged[0].samples:
        raise DataError(f"none of the {len(refs)} calibration samples could be used; see the skipped ones in the log")
    return dict(zip(watched, merged, strict=True)), tuple(checkpoints)


@dataclass(frozen=True)
class _Limits:
    """Minimum and maximum of each tensor after so many samples of a shard."""

    samples: int
    low: NDArray[np.float64]
    high: NDArray[np.float64]


def _limits(statistics: Sequence[TensorStatistics]) -> _Limits:
    low = np.array([np.inf if one.min is None else one.min for one in statistics])
    high = np.array([-np.inf if one.max is None else one.max for one in statistics])
    return _Limits(statistics[0].samples, low, high)


def _joined(names: Sequence[str], before: _Limits | None, after: _Limits) -> Checkpoint:
    """The checkpoint of ``after`` in a later shard: with all that the shards before saw."""
    low = after.low if before is None else np.minimum(before.low, after.low)
    high = after.high if before is None else np.maximum(before.high, after.high)
    samples = after.samples + (0 if before is None else before.samples)
    return Checkpoint(samples, {name: (float(a), float(b)) for name, a, b in zip(names, low, high, strict=True)})


class _Counter:
    """Counts samples over all threads."""

    def __init__(self, total: int, progress: Callable[[int, int], None]) -> None:
        self._lock = threading.Lock()
        self._total, self._done, self._progress = total, 0, progress

    def step(self) -> None:
        with self._lock:
            self._done += 1
            self._progress(self._done, self._total)
