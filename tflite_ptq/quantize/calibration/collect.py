"""Runs the float model over the calibration samples and gathers the statistics of every activation.

XNNPACK does the arithmetic where it runs the model, else LiteRT's plain kernels. Samples are cut into a fixed number of
shards with statistics of their own; threads take shards, each thread with its own interpreter, and shards are merged in
order: the result does not depend on how many threads there were.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from queue import Empty, SimpleQueue
from typing import TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

from tflite_ptq.errors import DataError
from tflite_ptq.model.editing import Editable
from tflite_ptq.quantize.calibration.observe import Limits, Observer, Seen, limits_of, observers
from tflite_ptq.quantize.calibration.settling import Checkpoint, checkpoint_counts
from tflite_ptq.quantize.calibration.statistics import Gather, TensorStatistics

Array: TypeAlias = NDArray[np.generic]
Sample: TypeAlias = Mapping[str, Array]
RefT = TypeVar("RefT")

SHARDS = 4
_CHECKPOINTS_A_SHARD = 13
# A second thread has to pay for its interpreter, and the two wait for each other between samples.
_WORTH_THREADS_S = 0.02
_TIMED = 4  # samples timed to know
_FAR = 10


def collect(
    model: Editable,
    names: Sequence[str],
    refs: Sequence[RefT],
    stream: Callable[[Sequence[RefT]], Iterator[Sample]],
    gather: Gather,
    threads: int,
    progress: Callable[[int, int], None],
    refused: Callable[[str], None] = lambda reason: None,
) -> tuple[dict[int, TensorStatistics], tuple[Checkpoint, ...]]:
    """Statistics of every activation of a float model, by tensor index, and how their ranges grew with the samples.

    ``names``: the inputs' names in the order of the model's inputs. ``stream`` yields the samples of some refs, keyed
    by input name, shapes with the batch; it is called once a shard, from several threads, and may skip samples; before
    that once for the first few refs, whose time says whether more than one of the ``threads`` is worth its cost.
    ``progress(done, total)`` is never called twice at once. ``refused`` is told why, once, where plain kernels do the
    arithmetic. Raises what ``stream`` raises, the first shard's first.
    """
    watched = model.activations()
    new_observer = observers(model, watched, gather)
    idle: SimpleQueue[Observer] = SimpleQueue()
    counter = _Counter(len(refs), progress)

    def shard(number: int) -> Seen:
        part = refs[len(refs) * number // SHARDS : len(refs) * (number + 1) // SHARDS]
        try:
            observer = idle.get_nowait()
        except Empty:
            observer = new_observer()
        observer.start(checkpoint_counts(len(part), _CHECKPOINTS_A_SHARD))
        for sample in stream(part) if part else ():
            observer.take([sample[name] for name in names])
            counter.step()
        seen = observer.finish()
        idle.put(observer)
        return seen

    first = new_observer()
    if first.refused is not None:
        refused(first.refused)
    idle.put(first)
    if threads > 1 and _worth_threads(idle, stream(refs[:_TIMED]), names, len(refs)):
        with ThreadPoolExecutor(min(threads, SHARDS)) as pool:
            shards = list(pool.map(shard, range(SHARDS)))
    else:
        shards = [shard(number) for number in range(SHARDS)]
    merged, checkpoints = _merged([model.name(tensor) for tensor in watched], shards)
    if not merged[0].samples:
        raise DataError(f"none of the {len(refs)} calibration samples could be used; see the skipped ones in the log")
    return dict(zip(watched, merged, strict=True)), tuple(checkpoints)


def _worth_threads(idle: SimpleQueue[Observer], samples: Iterator[Sample], names: Sequence[str], total: int) -> bool:
    """Whether ``total`` samples take long, by the quickest of a few: the first pays for the first use of everything."""
    observer, least, most = idle.get(), math.inf, _WORTH_THREADS_S / max(1, total)
    observer.start(())
    started = time.perf_counter()
    for sample in samples:
        observer.take([sample[name] for name in names])
        least, started = min(least, time.perf_counter() - started), time.perf_counter()
        if least > _FAR * most:  # no need to see another
            break
    idle.put(observer)
    return most < least < math.inf


def _merged(names: Sequence[str], shards: Sequence[Seen]) -> tuple[Sequence[TensorStatistics], list[Checkpoint]]:
    merged = shards[0].statistics
    checkpoints: list[Checkpoint] = []
    for number, seen in enumerate(shards):
        before = limits_of(merged) if number and merged[0].samples else None
        checkpoints += [_joined(names, before, limits) for limits in seen.limits]
        if number and seen.statistics[0].samples:
            for whole, part in zip(merged, seen.statistics, strict=True):
                whole.merge(part)
    return merged, checkpoints


def _joined(names: Sequence[str], before: Limits | None, after: Limits) -> Checkpoint:
    """The checkpoint of ``after`` in a later shard: with all that the shards before saw."""
    low = after.low if before is None else np.minimum(before.low, after.low)
    high = after.high if before is None else np.maximum(before.high, after.high)
    samples = after.samples + (0 if before is None else before.samples)
    return Checkpoint(samples, dict(zip(names, zip(low.tolist(), high.tolist(), strict=True), strict=True)))


class _Counter:
    """Counts samples over all threads."""

    def __init__(self, total: int, progress: Callable[[int, int], None]) -> None:
        self._lock = threading.Lock()
        self._total, self._done, self._progress = total, 0, progress

    def step(self) -> None:
        with self._lock:
            self._done += 1
            self._progress(self._done, self._total)
