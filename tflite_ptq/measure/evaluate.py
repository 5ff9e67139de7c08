"""Accuracy and fidelity of several models in one pass over the samples.

Several workers, each with an interpreter of its own for every model; each sample is read once and given to all.
Everything measured is kept by sample index, so the figures do not depend on the number of workers.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from tflite_ptq.data.bad_sample import BadSample
from tflite_ptq.data.index import SampleRef
from tflite_ptq.errors import DataError, MeasurementError, UserError
from tflite_ptq.measure.crew import Counter, together
from tflite_ptq.measure.direction import metric_keys
from tflite_ptq.measure.evaluation import EvaluationRun
from tflite_ptq.measure.metrics import needs_labels
from tflite_ptq.measure.model_pass import ModelPass
from tflite_ptq.measure.scoreboard import Measured, Scoreboard
from tflite_ptq.model.interpreter import Runner
from tflite_ptq.recipe.schema import FLOAT32, Metric
from tflite_ptq.result import SkippedSample

Array = NDArray[np.generic]
_LARGEST_CHUNK = 16


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
    board = Scoreboard.prepare(tuple(models), metrics, metric_keys(metrics), refs, recipe_folder)
    shared = _Shared(refs, read, on_bad, progress, board)
    parts = together(max(1, min(threads, len(refs))), lambda worker: _work(shared, models, worker))
    progress(len(refs), len(refs))  # the first worker may have ended before the others
    bad = _first(part.bad for part in parts)
    if bad is not None:
        raise bad
    skips = {index: error for part in parts for index, error in part.skipped.items()}
    skipped = tuple(SkippedSample(sample=refs[i].name, reason=str(why)) for i, why in sorted(skips.items()))
    kept = [index for index in range(len(refs)) if index not in skips]
    if not kept:
        raise DataError(f"all {len(refs)} samples were skipped; the first: {skipped[0].reason}")
    for part in parts:
        board.absorb(part.measured)
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
class _Part:
    """What one worker found."""

    bad: _Fault
    faults: dict[str, _Fault]
    """By model."""
    skipped: dict[int, BadSample]
    measured: Measured


@dataclass(frozen=True)
class _Shared:
    """What the workers share: samples are taken from one counter, and none past a fault that stops the pass."""

    refs: Sequence[SampleRef]
    read: Callable[[SampleRef], Mapping[str, Array]]
    on_bad: Literal["stop", "skip"]
    progress: Callable[[int, int], None]
    board: Scoreboard
    taken: Counter = field(default_factory=lambda: Counter(0))
    done: Counter = field(default_factory=lambda: Counter(0))
    stop_at: Counter = field(default_factory=lambda: Counter(sys.maxsize))


def _work(shared: _Shared, models: Mapping[str, Path], worker: int) -> _Part:
    """One worker: takes samples until there are none left. The first worker tells the progress of all."""
    part = _Part(_Fault(), {name: _Fault() for name in models}, {}, [])
    passes = _open(part, models)
    total = len(shared.refs)
    chunk = max(1, min(_LARGEST_CHUNK, total // 64))
    measured: list[int] = []
    while (start := shared.taken.add(chunk)) < total and start <= shared.stop_at.value:
        for index in range(start, min(start + chunk, total)):
            # Samples before a fault are still done: one of them may hold an earlier fault.
            if index > part.bad.before:
                break
            sample = _sample(shared, part, index)
            if sample is not None:
                _measure(shared, part, passes, index, sample)
                measured.append(index)
        shared.stop_at.lower(part.bad.before)
        done = min(shared.done.add(chunk) + chunk, total)
        if worker == 0:
            shared.progress(done, total)
    part.measured = shared.board.part(measured)
    return part


def _sample(shared: _Shared, part: _Part, index: int) -> Mapping[str, Array] | None:
    """The sample, or None where it is bad."""
    try:
        return shared.read(shared.refs[index])
    except BadSample as error:
        if shared.on_bad == "skip":
            part.skipped[index] = error
        else:
            part.bad.note(index, error)
    except DataError as error:
        part.bad.note(index, error)
    return None


def _open(part: _Part, models: Mapping[str, Path]) -> list[ModelPass]:
    """This worker's interpreters, the yardstick first."""
    passes = []
    for name in sorted(models, key=lambda name: name != FLOAT32):
        try:
            passes.append(ModelPass(name, Runner(models[name], "xnnpack", 1)))
        except UserError as error:
            part.faults[name].note(-1, error)
    return passes


def _measure(
    shared: _Shared, part: _Part, passes: Sequence[ModelPass], index: int, sample: Mapping[str, Array]
) -> None:
    """Gives a sample to all models."""
    ref = shared.refs[index]
    reference: ModelPass | None = None
    for one in passes:
        fault = part.faults[one.name]
        if index > fault.before:
            continue
        try:
            shared.board.measure(one, index, ref, sample, reference)
        except DataError as error:
            part.bad.note(index, error)
            return
        except MeasurementError as error:
            fault.note(index, error)
            continue
        if one.name == FLOAT32:
            reference = one
