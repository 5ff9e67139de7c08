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
from tflite_ptq.measure.evaluation import Evaluation
from tflite_ptq.measure.metrics import Score, aggregate, sample_score
from tflite_ptq.measure.model_pass import ModelPass, class_scores, matched, same_shape, scored
from tflite_ptq.recipe.schema import FLOAT32, Metric
from tflite_ptq.result import Fidelity

Array = NDArray[np.generic]
Reals = NDArray[np.float64]


@dataclass
class _Columns:
    """One model's values by sample index."""

    scores: list[list[Score]]
    signal: list[float]
    noise: list[float]
    agrees: list[bool]
    predicted: list[int | None]
    margins: list[float]
    outputs: list[dict[str, Array] | None]
    failed: dict[int, dict[int, MeasurementError]] = field(default_factory=dict)
    without_fidelity: str | None = None
    ranked: bool = False

    @classmethod
    def empty(cls, metrics: int, samples: int) -> _Columns:
        """Room for ``samples``; NaN where nothing was measured yet."""
        blank = [float("nan")] * samples
        return cls(
            [list(blank) for _ in range(metrics)],
            blank[:],
            blank[:],
            [False] * samples,
            [None] * samples,
            blank[:],
            [None] * samples,
        )


@dataclass
class _Rows:
    """One model's values at some sample indices: what a worker sends."""

    scores: list[list[Score]]
    signal: list[float]
    noise: list[float]
    agrees: list[bool]
    predicted: list[int | None]
    margins: list[float]
    outputs: list[dict[str, Array] | None]
    failed: dict[int, dict[int, MeasurementError]]
    without_fidelity: str | None
    ranked: bool


Measured = list[tuple[str, list[int], _Rows]]
"""By model, the sample indices and the values at them."""


@dataclass
class Scoreboard:
    """Filled by several workers, each at its own sample indices; read when all their parts are absorbed."""

    metrics: Sequence[Metric]
    keys: Sequence[str]
    refs: Sequence[SampleRef]
    functions: Mapping[str, custom.Function]
    columns: Mapping[str, _Columns]

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
        functions = {metric.name: custom.load(metric.name, recipe_folder) for metric in metrics if metric.custom}
        return cls(metrics, keys, refs, functions, {name: _Columns.empty(len(metrics), len(refs)) for name in models})

    def measure(
        self, one: ModelPass, index: int, ref: SampleRef, sample: Mapping[str, Array], reference: ModelPass | None
    ) -> None:
        """Run ``one`` on a sample and keep what it scored, against the outputs that ``reference`` gave on it.

        Raises ``MeasurementError`` where the model fails, ``DataError`` for a label that cannot be.
        """
        one.run(sample, ref)
        mine = self.columns[one.name]
        mine.signal[index] = one.power
        if self.functions:
            mine.outputs[index] = one.outputs
        for number, metric in enumerate(self.metrics):
            if metric.custom or number in mine.failed:
                continue
            try:
                output = scored(metric, one)
                fed = same_shape(sample, output) if "reconstruction" in metric.name + metric.score else None
                mine.scores[number][index] = sample_score(metric, output, ref.label, fed, ref.place)
            except MeasurementError as error:
                # Not raised: the other metrics can still be had.
                mine.failed.setdefault(number, {})[index] = error
        self._classify(mine, one, index, ref, sample)
        if reference is not None:
            self._compare(mine, one, reference, index, sample)

    def part(self, indices: Sequence[int]) -> Measured:
        """What this worker measured at ``indices``."""
        return [
            (
                name,
                list(indices),
                _Rows(
                    [[scores[i] for i in indices] for scores in mine.scores],
                    [mine.signal[i] for i in indices],
                    [mine.noise[i] for i in indices],
                    [mine.agrees[i] for i in indices],
                    [mine.predicted[i] for i in indices],
                    [mine.margins[i] for i in indices],
                    [mine.outputs[i] for i in indices] if self.functions else [],
                    mine.failed,
                    mine.without_fidelity,
                    mine.ranked,
                ),
            )
            for name, mine in self.columns.items()
        ]

    def absorb(self, measured: Measured) -> None:
        """Takes in a worker's part."""
        for name, indices, rows in measured:
            mine = self.columns[name]
            for place, index in enumerate(indices):
                mine.signal[index], mine.noise[index] = rows.signal[place], rows.noise[place]
                mine.agrees[index] = rows.agrees[place]
                mine.predicted[index], mine.margins[index] = rows.predicted[place], rows.margins[place]
                if rows.outputs:
                    mine.outputs[index] = rows.outputs[place]
                for scores, column in zip(rows.scores, mine.scores, strict=True):
                    column[index] = scores[place]
            for number, failed in rows.failed.items():
                mine.failed.setdefault(number, {}).update(failed)
            mine.without_fidelity = mine.without_fidelity or rows.without_fidelity
            mine.ranked = mine.ranked or rows.ranked

    def result(self, name: str, kept: Sequence[int], yardstick: bool) -> Evaluation:
        """The figures of a model over the samples at ``kept``; ``yardstick``: float32 was measured on all of them."""
        mine = self.columns[name]
        labels = [self.refs[index].label for index in kept]
        figures: dict[str, float] = {}
        failed: dict[str, MeasurementError] = {}
        scores: dict[str, NDArray[np.float64]] = {}
        for number, (metric, key) in enumerate(zip(self.metrics, self.keys, strict=True)):
            try:
                if number in mine.failed:
                    raise mine.failed[number][min(mine.failed[number])]
                if metric.custom:
                    figures[key] = self._custom(metric, mine, kept)
                    continue
                values = [mine.scores[number][index] for index in kept]
                scores[key] = np.asarray(values, np.float64)
                figures[key] = aggregate(metric, values, labels)
            except MeasurementError as error:
                failed[key] = error
        measured: Fidelity | None = None
        notes: tuple[str, ...] = ()
        if name != FLOAT32 and FLOAT32 in self.columns:
            measured, notes = self._fidelity(mine, kept, yardstick)
        predicted = [value for value in (mine.predicted[index] for index in kept) if value is not None]
        leads = np.array([mine.margins[index] for index in kept])
        return Evaluation(
            metrics=figures,
            failed=failed,
            scores=scores,
            predicted=np.array(predicted, np.int64) if len(predicted) == len(kept) else None,
            margins=None if np.isnan(leads).any() else leads,
            fidelity=measured,
            samples=len(kept),
            notes=notes,
        )

    def _classify(
        self, mine: _Columns, one: ModelPass, index: int, ref: SampleRef, sample: Mapping[str, Array]
    ) -> None:
        output = class_scores(self.metrics, one, sample)
        if output is None:
            return
        # (1, ..., K) -> (1, K)
        row = output.reshape(1, -1).astype(np.float64)
        predicted = classes.chosen(row)
        mine.predicted[index] = int(predicted[0])
        if ref.label is not None and ref.label in range(max(row.size, 2)):
            mine.margins[index] = float(classes.margins(row, predicted, np.array([int(ref.label)]))[0])

    def _compare(
        self, mine: _Columns, one: ModelPass, reference: ModelPass, index: int, sample: Mapping[str, Array]
    ) -> None:
        order = matched(one, reference)
        wanted = reference.reals
        if order is None or any(a.size != b.size for a, b in zip(wanted, order, strict=True)):
            mine.without_fidelity = (
                f"fidelity is not measured: the outputs ({', '.join(one.output_names)}) are not those of float32 "
                f"({', '.join(reference.output_names)})"
            )
            return
        mine.noise[index] = fidelity.noise_power(wanted, order)
        first = reference.outputs[reference.output_names[0]]
        # An output of the input's own shape reconstructs it: its largest value is no class.
        if fidelity.scores_classes(first.shape) and same_shape(sample, first) is None:
            mine.ranked = True
            mine.agrees[index] = bool(wanted[0].argmax() == order[0].argmax())

    def _fidelity(
        self, mine: _Columns, kept: Sequence[int], yardstick: bool
    ) -> tuple[Fidelity | None, tuple[str, ...]]:
        if not yardstick:
            return None, ("fidelity is not measured: float32 failed on these samples",)
        if mine.without_fidelity is not None:
            return None, (mine.without_fidelity,)
        signal = self.columns[FLOAT32].signal
        agrees = [mine.agrees[i] for i in kept] if mine.ranked else None
        return fidelity.summarize([signal[i] for i in kept], [mine.noise[i] for i in kept], agrees), ()

    def _custom(self, metric: Metric, mine: _Columns, kept: Sequence[int]) -> float:
        rows = [row for row in (mine.outputs[index] for index in kept) if row is not None]
        # (1, ...) a sample -> (N, ...)
        joined = {name: np.concatenate([np.atleast_1d(row[name]) for row in rows]) for name in rows[0]}
        labels = [self.refs[index].label for index in kept]
        known = np.asarray(labels) if all(label is not None for label in labels) else None
        return custom.call(metric.name, self.functions[metric.name], joined, known)
