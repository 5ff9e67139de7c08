"""Accuracy and fidelity of several models in one pass over the samples.

Several workers, each with an interpreter of its own for every model; each sample is read once and given to all. Samples
are taken in chunks, so that reading, checking and scoring cost little beside the inferences. Everything measured is
kept by sample index, so the figures do not depend on the number of workers.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np

from tflite_ptq.data.bad_sample import BadSample
from tflite_ptq.data.index import SampleRef
from tflite_ptq.data.piece import Piece
from tflite_ptq.errors import DataError, MeasurementError, UserError
from tflite_ptq.measure.crew import Counter, together
from tflite_ptq.measure.direction import metric_keys
from tflite_ptq.measure.evaluation import EvaluationRun
from tflite_ptq.measure.heap import keep_freed_memory
from tflite_ptq.measure.metrics import needs_labels
from tflite_ptq.measure.model_pass import ModelPass
from tflite_ptq.measure.scoreboard import Part, Scoreboard
from tflite_ptq.model.interpreter import Runner
from tflite_ptq.recipe.metric import Metric
from tflite_ptq.recipe.schema import FLOAT32
from tflite_ptq.result import SkippedSample

# Of the largest input or output: memory stays bounded. A model that has a dozen samples to itself before the next one's
# turn finds its code and weights in the caches, which is worth more than finding the samples there.
_CHUNK_BYTES = 2**23
_LARGEST_CHUNK = 64
_FEWEST_CHUNKS = 32  # so that no worker waits long for the last


def evaluate(
    models: Mapping[str, Path],
    refs: Sequence[SampleRef],
    read: Callable[[Sequence[SampleRef]], Iterable[Piece]],
    metrics: Sequence[Metric],
    threads: int,
    on_bad: Literal["stop", "skip"],
    progress: Callable[[int, int], None],
    recipe_folder: Path,
) -> EvaluationRun:
    """Measure ``models`` (name to file) on ``refs``; the one named float32 is the yardstick of fidelity.

    ``read`` gives samples that follow each other as real values by input name, and must be safe to call from several
    workers, ``threads`` of them. ``progress(done, total)`` is called by one of them. A model that cannot be opened,
    fails or puts out NaN or infinity costs itself alone. Raises ``DataError`` for an empty selection, labels that
    are missing or out of range, and a bad sample under ``stop`` (the first in order); ``MeasurementError`` for a
    metric of the user's that cannot be loaded.
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
    keep_freed_memory()
    board = Scoreboard.prepare(tuple(models), metrics, metric_keys(metrics), refs, recipe_folder)
    shared = _Shared(refs, read, on_bad, progress, board)
    parts = together(max(1, min(threads, len(refs))), lambda number: _work(shared, models, number))
    progress(len(refs), len(refs))  # the first worker may have ended before the others
    bad = _first(part.bad for part in parts)
    if bad is not None:
        raise bad
    skips = {index: error for part in parts for index, error in part.skipped.items()}
    skipped = tuple(SkippedSample(sample=refs[i].name, reason=str(why)) for i, why in sorted(skips.items()))
    kept = np.array([index for index in range(len(refs)) if index not in skips], np.int64)
    if not kept.size:
        raise DataError(f"all {len(refs)} samples were skipped; the first: {skipped[0].reason}")
    for part in parts:
        board.absorb(part.parts)
    faults = {name: _first(part.faults[name] for part in parts) for name in models}
    yardstick = FLOAT32 not in models or faults[FLOAT32] is None
    results = {name: faults[name] or board.result(name, kept, yardstick) for name in models}
    return EvaluationRun(results, skipped, [refs[index] for index in kept])


@dataclass
class _Fault:
    """The fault at the lowest sample index that one worker came upon."""

    before: int = sys.maxsize
    """Samples from this index on need not be measured."""
    error: UserError | None = None

    def note(self, index: int, error: UserError) -> None:
        if index < self.before:
            self.before, self.error = index, error


def _first(faults: Iterable[_Fault]) -> UserError | None:
    return min(faults, key=lambda fault: fault.before).error


@dataclass
class _Worker:
    """What one worker has of its own, and what it found."""

    board: Scoreboard
    passes: Sequence[ModelPass] = ()
    """The models that could be opened, the yardstick first."""
    bad: _Fault = field(default_factory=_Fault)
    faults: dict[str, _Fault] = field(default_factory=dict)
    """By model."""
    skipped: dict[int, BadSample] = field(default_factory=dict)
    measured: list[int] = field(default_factory=list)


@dataclass(frozen=True)
class _Found:
    """What a worker sends."""

    bad: _Fault
    faults: Mapping[str, _Fault]
    skipped: Mapping[int, BadSample]
    parts: Mapping[str, Part]


@dataclass(frozen=True)
class _Shared:
    """What the workers share: samples are taken from one counter, and none past a fault that stops the pass."""

    refs: Sequence[SampleRef]
    read: Callable[[Sequence[SampleRef]], Iterable[Piece]]
    on_bad: Literal["stop", "skip"]
    progress: Callable[[int, int], None]
    board: Scoreboard
    taken: Counter = field(default_factory=lambda: Counter(0))
    done: Counter = field(default_factory=lambda: Counter(0))
    stop_at: Counter = field(default_factory=lambda: Counter(sys.maxsize))


def _work(shared: _Shared, models: Mapping[str, Path], number: int) -> _Found:
    """One worker: takes samples until there are none left. The first worker tells the progress of all."""
    mine = _Worker(shared.board.blank(), faults={name: _Fault() for name in models})
    mine.passes = _open(mine, models)
    total = len(shared.refs)
    chunk = _chunk(mine.passes, total)
    while (start := shared.taken.add(chunk)) < total and start <= shared.stop_at.value:
        _chunk_measured(shared, mine, start, shared.refs[start : start + chunk])
        shared.stop_at.lower(mine.bad.before)
        done = min(shared.done.add(chunk) + chunk, total)
        if number == 0:
            shared.progress(done, total)
    measured = np.array(mine.measured, np.int64)
    return _Found(mine.bad, mine.faults, mine.skipped, mine.board.parts(measured))


def _open(mine: _Worker, models: Mapping[str, Path]) -> list[ModelPass]:
    passes = []
    for name in sorted(models, key=lambda name: name != FLOAT32):
        try:
            passes.append(ModelPass(name, Runner(models[name], "xnnpack", 1)))
        except UserError as error:
            mine.faults[name].note(-1, error)
    return passes


def _chunk(passes: Sequence[ModelPass], total: int) -> int:
    """How many samples are taken at once: the same for any number of workers, and so the same sums."""
    sizes = [one.sample_bytes for one in passes]
    if not sizes or None in sizes:  # samples of many shapes do not stack
        return 1
    fitting = _CHUNK_BYTES // max(1, *(size for size in sizes if size is not None))
    return max(1, min(fitting, _LARGEST_CHUNK, total // _FEWEST_CHUNKS))


def _chunk_measured(shared: _Shared, mine: _Worker, start: int, refs: Sequence[SampleRef]) -> None:
    for piece in shared.read(refs):
        if isinstance(piece.fault, BadSample) and shared.on_bad == "skip":
            mine.skipped[start] = piece.fault
        elif piece.fault is not None:
            mine.bad.note(start, piece.fault)
        else:
            _measure(mine, start, piece)
        # Samples before a fault were still done: one of them may hold an earlier fault.
        start += piece.count
        if start > mine.bad.before:
            return


def _measure(mine: _Worker, start: int, piece: Piece) -> None:
    """Gives samples to all models; what fails on several is done again on each, to find the first that is at fault."""
    at = slice(start, start + piece.count)
    reference: ModelPass | None = None
    for one in mine.passes:
        fault = mine.faults[one.name]
        if start > fault.before:
            continue
        try:
            mine.board.measure(one, at, piece.samples, reference)
        except (DataError, MeasurementError) as error:
            if piece.count > 1:
                _measure_singly(mine, start, piece)
                return
            if isinstance(error, DataError):
                mine.bad.note(start, error)
                return
            fault.note(start, error)
            continue
        if one.name == FLOAT32:
            reference = one
    mine.measured += range(at.start, at.stop)


def _measure_singly(mine: _Worker, start: int, piece: Piece) -> None:
    for place in range(piece.count):
        _measure(mine, start + place, piece.sample(place))
        if start + place >= mine.bad.before:
            return
