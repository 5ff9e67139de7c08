"""The runtime child's evaluation job: one pass over the samples, and what it says of every model."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from tflite_ptq.data.bad_sample import BadSample
from tflite_ptq.data.index import SampleRef
from tflite_ptq.data.reader import Reader
from tflite_ptq.data.thumbnail import thumbnail
from tflite_ptq.errors import UserError
from tflite_ptq.measure.classification import classify
from tflite_ptq.measure.direction import metric_keys
from tflite_ptq.measure.environment import cores
from tflite_ptq.measure.evaluate import evaluate
from tflite_ptq.measure.evaluation import Evaluation as Measured
from tflite_ptq.measure.significance import figures
from tflite_ptq.recipe.dataset import ImageFormat
from tflite_ptq.result import Classes
from tflite_ptq.result import Metric as Figure
from tflite_ptq.worker.child import ReportProgress
from tflite_ptq.worker.chosen import chosen_samples
from tflite_ptq.worker.messages import Evaluate, Evaluated, Evaluation

_MOST_THUMBNAILS = 12


def evaluate_models(request: Evaluate, progress: ReportProgress) -> Evaluation:
    """Figures, their intervals and changes, fidelity and classes of all models of the request."""
    chosen = chosen_samples(request.dataset)
    run = evaluate(
        {name: Path(path) for name, path in request.models.items()},
        chosen.evaluation,
        Reader(request.dataset, request.inputs).pieces,
        request.metrics,
        threads=cores(),
        on_bad=request.dataset.on_bad_sample,
        progress=progress,
        recipe_folder=Path(request.recipe_folder),
    )
    accuracy = figures(run, request.metrics, metric_keys(request.metrics), request.yardstick)
    before = run.results.get(request.yardstick)
    pictures = _Pictures(run.measured) if isinstance(request.dataset.format, ImageFormat) else None
    models: dict[str, Evaluated] = {}
    for name, found in run.results.items():
        if isinstance(found, UserError):
            models[name] = Evaluated(error=str(found))
            continue
        against = before if isinstance(before, Measured) and name != request.yardstick else None
        classes = classify(found, against, run.measured, chosen.classes)
        models[name] = Evaluated(
            accuracy=accuracy[name],
            classes=pictures.added(classes) if pictures is not None and classes is not None else classes,
            fidelity=found.fidelity,
            failed=tuple(str(error) for error in found.failed.values()),
            notes=(*found.notes, *_unsure(accuracy[name], run.samples)),
        )
    return Evaluation(models=models, skipped=run.skipped)


def _unsure(accuracy: Mapping[str, Figure], samples: int) -> Iterator[str]:
    for key, figure in accuracy.items():
        if figure.interval is None:
            why = (
                "one sample says nothing of others"
                if samples == 1
                else "resampling would take minutes, or has no figure"
            )
            more = "; return one value a sample for one" if ":" in key and samples > 1 else ""
            yield f"{key} has no interval: {why}{more}"


class _Pictures:
    """Thumbnails of samples, each made once: the variants of a run often fail on the same ones."""

    def __init__(self, refs: Sequence[SampleRef]) -> None:
        self._files = {ref.name: ref.file for ref in refs}
        self._made: dict[str, str | None] = {}

    def added(self, classes: Classes) -> Classes:
        """``classes`` with thumbnails of the worst samples."""
        pictured = tuple(
            one.model_copy(update={"thumbnail": self._of(one.sample)}) if rank < _MOST_THUMBNAILS else one
            for rank, one in enumerate(classes.regressions)
        )
        return classes.model_copy(update={"regressions": pictured})

    def _of(self, sample: str) -> str | None:
        if sample not in self._made:
            try:
                self._made[sample] = thumbnail(self._files[sample])
            except BadSample:  # it was read a moment ago; a file that has gone since costs its picture only
                self._made[sample] = None
        return self._made[sample]
