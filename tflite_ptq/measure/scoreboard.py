"""What every model scored on every sample, kept by sample index, and the figures made from it at the end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tflite_ptq.data.index import SampleRef
from tflite_ptq.errors import MeasurementError
from tflite_ptq.measure import classes, custom, fidelity
from tflite_ptq.measure.aggregates import aggregate
from tflite_ptq.measure.columns import Columns, Indices, Rows
from tflite_ptq.measure.evaluation import Evaluation
from tflite_ptq.measure.extras import require
from tflite_ptq.measure.metrics import sample_scores
from tflite_ptq.measure.model_pass import ModelPass, reconstructed
from tflite_ptq.measure.task_score import task_scores
from tflite_ptq.recipe.metric import TASK_METRICS, Metric
from tflite_ptq.recipe.schema import FLOAT32
from tflite_ptq.result import Fidelity

Array = NDArray[np.generic]
_SCORE, _OUTPUT, _SIGNAL, _NOISE = "score:", "output:", "signal:", "noise:"
_AGREES, _PREDICTED, _MARGIN = "agrees", "predicted", "margin"


@dataclass
class Sheet:
    """What one model scored; ``failed`` holds by metric the error of the lowest sample index."""

    columns: Columns
    failed: dict[int, tuple[int, MeasurementError]] = field(default_factory=dict)
    without_fidelity: str | None = None

    def fail(self, metric: int, index: int, error: MeasurementError) -> None:
        """Keep the error of ``metric`` unless there is one at a lower index."""
        if metric not in self.failed or index < self.failed[metric][0]:
            self.failed[metric] = index, error


@dataclass(frozen=True)
class Part:
    """What one worker measured of one model."""

    rows: Rows
    failed: Mapping[int, tuple[int, MeasurementError]]
    without_fidelity: str | None


@dataclass
class Scoreboard:
    """Filled by several workers, each with a copy (``blank``) and at its own sample indices; read when all their parts
    are absorbed."""

    metrics: Sequence[Metric]
    keys: Sequence[str]
    refs: Sequence[SampleRef]
    functions: Mapping[str, custom.Function]
    sheets: Mapping[str, Sheet]

    @classmethod
    def prepare(
        cls,
        models: Sequence[str],
        metrics: Sequence[Metric],
        keys: Sequence[str],
        refs: Sequence[SampleRef],
        recipe_folder: Path,
    ) -> Scoreboard:
        """Loads the functions of the user's; raises ``MeasurementError`` where that fails."""
        require(metrics)
        functions = {metric.name: custom.load(metric.name, recipe_folder) for metric in metrics if metric.custom}
        return cls(metrics, keys, refs, functions, {name: Sheet(Columns(len(refs))) for name in models})

    def blank(self) -> Scoreboard:
        """One with nothing on it."""
        sheets = {name: Sheet(Columns(len(self.refs))) for name in self.sheets}
        return Scoreboard(self.metrics, self.keys, self.refs, self.functions, sheets)

    def measure(self, one: ModelPass, at: slice, samples: Mapping[str, Array], reference: ModelPass | None) -> None:
        """Run ``one`` on the samples at the indices ``at``, each input (n, *shape), and keep what it scored, against
        the outputs that ``reference`` gave on them.

        Raises ``MeasurementError`` where the model fails, ``DataError`` for a label that cannot be.
        """
        refs = self.refs[at]
        one.run(samples, refs)
        sheet = self.sheets[one.name]
        for name, powers in zip(one.output_names, one.power.T, strict=True):
            sheet.columns.put(_SIGNAL + name, at, powers)
        if self.functions:
            for name, values in one.outputs.items():
                sheet.columns.put(_OUTPUT + name, at, values)
        for number, metric in enumerate(self.metrics):
            if metric.custom or number in sheet.failed:
                continue
            try:
                if metric.name in TASK_METRICS:
                    which = "" if metric.name == "coco_map" else one.scored(metric)
                    sheet.columns.put(f"{_SCORE}{number}", at, task_scores(metric, one.outputs, which, refs))
                    continue
                output = one.outputs[one.scored(metric)]
                fed = reconstructed(samples, output) if "reconstruction" in metric.name + metric.score else None
                labels, places = [ref.label for ref in refs], [ref.place for ref in refs]
                sheet.columns.put(f"{_SCORE}{number}", at, sample_scores(metric, output, labels, fed, places))
            except MeasurementError as error:
                sheet.fail(number, at.start, error)  # not raised: the other metrics can still be had
        self._classify(sheet, one, at, samples)
        if reference is not None:
            _compare(sheet, one, at, samples, reference)

    def parts(self, at: Indices) -> dict[str, Part]:
        """What this worker measured, by model; ``at``: at which indices."""
        return {
            name: Part(sheet.columns.rows(at), sheet.failed, sheet.without_fidelity)
            for name, sheet in self.sheets.items()
        }

    def absorb(self, parts: Mapping[str, Part]) -> None:
        """Takes in what a worker measured."""
        for name, part in parts.items():
            sheet = self.sheets[name]
            sheet.columns.absorb(part.rows)
            sheet.without_fidelity = sheet.without_fidelity or part.without_fidelity
            for metric, (index, error) in part.failed.items():
                sheet.fail(metric, index, error)

    def result(self, name: str, kept: Indices, yardstick: bool) -> Evaluation:
        """The figures of a model over the samples at ``kept``; ``yardstick``: float32 was measured on all of them."""
        sheet = self.sheets[name]
        truths = [self.refs[index].truth for index in kept]
        figures: dict[str, float] = {}
        failed: dict[str, MeasurementError] = {}
        scores: dict[str, NDArray[np.float64]] = {}
        redrawn: dict[str, NDArray[np.float64]] = {}
        for number, (metric, key) in enumerate(zip(self.metrics, self.keys, strict=True)):
            try:
                if number in sheet.failed:
                    raise sheet.failed[number][1]
                if metric.custom:
                    own = self._custom(metric, sheet.columns, kept)
                    figures[key] = own.value
                    if own.scores is not None:
                        scores[key] = own.scores
                    elif own.resampled is not None:
                        redrawn[key] = own.resampled
                    continue
                values = sheet.columns.reals(f"{_SCORE}{number}", kept)
                if values is None:
                    raise _uneven(metric)
                scores[key] = values
                figures[key] = aggregate(metric, values, truths)
            except MeasurementError as error:
                failed[key] = error
        measured: Fidelity | None = None
        notes: tuple[str, ...] = ()
        if name != FLOAT32 and FLOAT32 in self.sheets:
            measured, notes = self._fidelity(sheet, kept, yardstick)
        predicted, margins = sheet.columns.whole(_PREDICTED, kept), sheet.columns.reals(_MARGIN, kept)
        return Evaluation(
            metrics=figures,
            failed=failed,
            scores=scores,
            predicted=None if predicted is None or (predicted < 0).any() else predicted,
            margins=None if margins is None or np.isnan(margins).any() else margins,
            fidelity=measured,
            samples=len(kept),
            notes=notes,
            redrawn=redrawn,
        )

    def _classify(self, sheet: Sheet, one: ModelPass, at: slice, samples: Mapping[str, Array]) -> None:
        scores = one.class_scores(self.metrics, samples)
        if scores is None:
            return
        predicted = classes.chosen(scores)
        sheet.columns.put(_PREDICTED, at, predicted)
        possible = range(max(scores.shape[1], 2))
        labels = [ref.label for ref in self.refs[at]]
        if all(label is not None and label in possible for label in labels):
            sheet.columns.put(_MARGIN, at, classes.margins(scores, predicted, np.array(labels, np.int64)))

    def _fidelity(self, sheet: Sheet, kept: Indices, yardstick: bool) -> tuple[Fidelity | None, tuple[str, ...]]:
        if not yardstick:
            return None, ("fidelity is not measured: float32 failed on these samples",)
        if sheet.without_fidelity is not None:
            return None, (sheet.without_fidelity,)
        yard = self.sheets[FLOAT32].columns
        outputs = [key.removeprefix(_SIGNAL) for key in yard.keys(_SIGNAL)]
        signal = yard.beside([_SIGNAL + name for name in outputs], kept)
        noise = sheet.columns.beside([_NOISE + name for name in outputs], kept)
        agrees = sheet.columns.get(_AGREES, kept)
        agreed = None if agrees is None else agrees.astype(np.bool_)
        return fidelity.summarize(signal, noise, agreed, outputs), ()

    def _custom(self, metric: Metric, columns: Columns, kept: Indices) -> custom.Measured:
        joined: dict[str, Array] = {}
        for key in columns.keys(_OUTPUT):
            values = columns.get(key, kept)
            if values is None:
                raise _uneven(metric)
            # (N, 1, ...) -> (N, ...)
            joined[key.removeprefix(_OUTPUT)] = values.reshape(-1, *values.shape[2:])
        labels = [self.refs[index].label for index in kept]
        known = np.asarray(labels) if all(label is not None for label in labels) else None
        return custom.measure(metric.name, self.functions[metric.name], joined, known)


def _compare(sheet: Sheet, one: ModelPass, at: slice, samples: Mapping[str, Array], reference: ModelPass) -> None:
    wanted, got = list(reference.reals.values()), one.reals_as(reference)
    if got is None:
        sheet.without_fidelity = (
            f"fidelity is not measured: the outputs ({', '.join(one.output_names)}) are not those of float32 "
            f"({', '.join(reference.output_names)})"
        )
        return
    for name, powers in zip(reference.output_names, fidelity.noise_power(wanted, got).T, strict=True):
        sheet.columns.put(_NOISE + name, at, powers)
    first = reference.outputs[reference.output_names[0]]
    # An output of the input's own shape reconstructs it: its largest value is no class.
    if classes.told(first) is not None:
        sheet.columns.put(_AGREES, at, (wanted[0] == got[0]).reshape(len(first)))
    elif fidelity.scores_classes(first.shape[1:]) and reconstructed(samples, first) is None:
        sheet.columns.put(_AGREES, at, wanted[0].argmax(axis=1) == got[0].argmax(axis=1))


def _uneven(metric: Metric) -> MeasurementError:
    return MeasurementError(
        f"metric {metric.name}: an output changes its shape from sample to sample, and the metric needs one shape for "
        "all; give the model's inputs one shape under model.inputs"
    )
