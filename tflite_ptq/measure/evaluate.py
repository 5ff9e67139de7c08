"""Accuracy and fidelity of several models in one pass over the samples.

``threads`` threads, each with an interpreter of its own for every model; each sample is read once and given to all.
Everything measured is kept by sample index, so the figures do not depend on the number of threads.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from tflite_ptq.data.bad_sample import BadSample
from tflite_ptq.data.index import SampleRef
from tflite_ptq.errors import DataError, MeasurementError, UserError
from tflite_ptq.measure.direction import metric_keys
from tflite_ptq.measure.metrics import needs_labels
from tflite_ptq.measure.scoreboard import Evaluation, ModelPass, Scoreboard
from tflite_ptq.model.interpreter import Runner
from tflite_ptq.recipe.schema import FLOAT32, Metric
from tflite_ptq.result import SkippedSample

Array = NDArray[np.generic]
_LARGEST_CHUNK = 16
_QUICK_S = 0.0005
_SWITCH_INTERVAL_S = 0.0005


@dataclass(frozen=True)
class EvaluationRun:
    """What one pass gave: for each model its evaluation, or why there is none."""

    results: Mapping[str, Evaluation | UserError]
    skipped: tuple[SkippedSample, ...]
    samples: int
    """How many samples were measured."""


def evaluate(
    models: Mapping[str, Path],
    refs: Sequence[SampleRef],
    read: Callable[[SampleRef], Mapping[str, Array]],
    metrics: Sequence[Metric],
    threads: int,
    on_bad: Literal["stop", "skip"],
    progress: Callable[[int, int], None],
    recipe_folder: Path,
) -> EvaluationRun:
    """Measure ``models`` (name to file) on ``refs``; the one named float32 is the yardstick of fidelity.

    ``read`` gives a sample as real values by input name, each (1, ...), and must be safe to call from several
    threads. ``progress(done, total)`` is called from them, never twice at once. A model that cannot be opened, fails
    or puts out NaN or infinity costs itself alone. Raises ``DataError`` for an empty selection, labels that are
    missing or out of range, and a bad sample under ``stop`` (the first in order); ``MeasurementError`` for a metric
    of the user's that cannot be loaded.
    """
    if not refs:
        raise DataError("no sample to evaluate; check dataset.evaluation.path and samples")
    for metric in filter(needs_labels, metrics):
        unlabelled = next((ref for ref in refs if ref.label is None), None)
        if unlabelled is not None:
            raise DataError(
                f"{unlabelled.place}: has no label, and metric {metric.name} needs one; set dataset.evaluation.labels "
                "or choose a metric without labels"
            )
    board = Scoreboard.prepare(tuple(models), metrics, metric_keys(metrics), refs, recipe_folder)
    shared = _Shared(refs, read, on_bad, progress, board, {name: _FirstFault() for name in models})
    workers = max(1, min(threads, len(refs)))
    interval = sys.getswitchinterval()
    # A thread back from an inference waits so long for the GIL: Python's 5 ms is many inferences.
    sys.setswitchinterval(_SWITCH_INTERVAL_S)
    with ThreadPoolExecutor(workers) as pool:
        try:
            for done in [pool.submit(_work, shared, models) for _ in range(workers)]:
                done.result()
        finally:
            shared.stopped = True
            sys.setswitchinterval(interval)
    if shared.bad.error is not None:
        raise shared.bad.error
    skipped = tuple(SkippedSample(sample=refs[i].name, reason=str(why)) for i, why in sorted(shared.skipped.items()))
    kept = [index for index in range(len(refs)) if index not in shared.skipped]
    if not kept:
        raise DataError(f"all {len(refs)} samples were skipped; the first: {skipped[0].reason}")
    yardstick = FLOAT32 not in models or shared.faults[FLOAT32].error is None
    results = {name: shared.faults[name].error or board.result(name, kept, yardstick) for name in models}
    return EvaluationRun(results, skipped, len(kept))


class _FirstFault:
    """The fault at the lowest sample index, whichever thread came upon one first."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.before = sys.maxsize
        """Samples from this index on need not be measured."""
        self.error: UserError | None = None

    def note(self, index: int, error: UserError) -> None:
        with self._lock:
            if index < self.before:
                self.before, self.error = index, error


@dataclass
class _Shared:
    """What the threads share."""

    refs: Sequence[SampleRef]
    read: Callable[[SampleRef], Mapping[str, Array]]
    on_bad: Literal["stop", "skip"]
    progress: Callable[[int, int], None]
    board: Scoreboard
    faults: Mapping[str, _FirstFault]
    """By model."""
    bad: _FirstFault = field(default_factory=_FirstFault)
    skipped: dict[int, BadSample] = field(default_factory=dict)
    quick: bool = True
    """Whether a sample takes less than ``_QUICK_S`` to read."""
    turn: threading.Lock = field(default_factory=threading.Lock)
    """Held by the one that reads, while reading is quick."""
    lock: threading.Lock = field(default_factory=threading.Lock)
    next_index: int = 0
    done: int = 0
    stopped: bool = False

    def take(self, chunk: int) -> range:
        """The next samples to do; empty at the end."""
        with self.lock:
            start = self.next_index
            self.next_index = min(start + chunk, len(self.refs))
            return range(start, self.next_index)

    def finished(self, count: int) -> None:
        """Count ``count`` samples as done."""
        with self.lock:
            self.done += count
            self.progress(self.done, len(self.refs))


def _work(shared: _Shared, models: Mapping[str, Path]) -> None:
    """One thread: take samples until there are none left."""
    try:
        passes = _open(shared, models)
        chunk = max(1, min(_LARGEST_CHUNK, len(shared.refs) // 64))
        while not shared.stopped and (indices := shared.take(chunk)):
            for index, sample in _read(shared, indices):
                _measure(shared, passes, index, sample)
            shared.finished(len(indices))
    except BaseException:
        shared.stopped = True
        raise


def _read(shared: _Shared, indices: range) -> Iterator[tuple[int, Mapping[str, Array]]]:
    """The samples at ``indices`` that are good, one by one, or all read in turn where reading is quick.

    Threads that read small files at once spend more time handing each other the GIL than reading; one that reads
    while the others infer (which needs no GIL) does not disturb them.
    """
    if not shared.quick:
        for index in indices:
            sample = _sample(shared, index)
            if sample is not None:
                yield index, sample
        return
    with shared.turn:
        started = time.perf_counter()
        samples = [(index, _sample(shared, index)) for index in indices]
        shared.quick = time.perf_counter() - started < _QUICK_S * len(indices)
    for index, sample in samples:
        if sample is not None:
            yield index, sample


def _sample(shared: _Shared, index: int) -> Mapping[str, Array] | None:
    """The sample, or None where it is bad or need not be measured any more."""
    # Samples before a fault are still done: one of them may hold an earlier fault.
    if shared.stopped or index > shared.bad.before:
        return None
    try:
        return shared.read(shared.refs[index])
    except BadSample as error:
        if shared.on_bad == "skip":
            shared.skipped[index] = error
        else:
            shared.bad.note(index, error)
    except DataError as error:
        shared.bad.note(index, error)
    return None


def _open(shared: _Shared, models: Mapping[str, Path]) -> list[ModelPass]:
    """This thread's interpreters, the yardstick first."""
    passes = []
    for name in sorted(models, key=lambda name: name != FLOAT32):
        try:
            passes.append(ModelPass(name, Runner(models[name], "xnnpack", 1)))
        except UserError as error:
            shared.faults[name].note(-1, error)
    return passes


def _measure(shared: _Shared, passes: Sequence[ModelPass], index: int, sample: Mapping[str, Array]) -> None:
    """Give a sample to all models."""
    ref = shared.refs[index]
    reference: ModelPass | None = None
    for one in passes:
        fault = shared.faults[one.name]
        if index > fault.before:
            continue
        try:
            shared.board.measure(one, index, ref, sample, reference)
        except DataError as error:
            shared.bad.note(index, error)
            return
        except MeasurementError as error:
            fault.note(index, error)
            continue
        if one.name == FLOAT32:
            reference = one
