"""The story of ``check``: everything about a recipe that can be known in a second."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from tflite_ptq.errors import ConversionError
from tflite_ptq.measure.extras import require
from tflite_ptq.model.input_shapes import fixed_inputs
from tflite_ptq.model.tflite_source import float_inputs, needs_source, shares_calibration
from tflite_ptq.recipe.dataset import Dataset
from tflite_ptq.recipe.labels import TASK_LABELS
from tflite_ptq.recipe.loader import LoadedRecipe
from tflite_ptq.recipe.schema import Model
from tflite_ptq.result import TensorInfo
from tflite_ptq.worker.calibration_messages import Examine, Examined
from tflite_ptq.worker.messages import Describe, Described, FirstSample, Scanned
from tflite_ptq.worker.process import Worker
from tflite_ptq.worker.scratch import LOG_NAME, scratch_folder
from tflite_ptq.worker.spawning import RUNTIME

_MOST_EVALUATION = 1000
"""Evaluation samples that are looked at where the question is about the samples alone."""


def check(loaded: LoadedRecipe, data: bool = False) -> tuple[str, ...]:
    """Sentences that say what was found good; with ``data`` also what is odd about the
    calibration samples. Raises the ``UserError`` of what is not."""
    recipe = loaded.recipe
    require(recipe.benchmark.accuracy.metrics)
    lines = [f"recipe    {recipe.name}: {len(recipe.variants)} variants ({', '.join(v.name for v in recipe.variants)})"]
    with runtime() as child:
        described = child.ask(Describe(model=recipe.model), Described, "describe the model")
        inputs = _inputs(recipe.model, described)
        lines.append(f"model     {recipe.model.path} ({described.kind})")
        if described.kind == "tflite":
            lacking = [v.name for v in recipe.variants if not shares_calibration(v, recipe.dataset)]
            if lacking:
                raise ConversionError(needs_source(lacking, recipe.model.path))
        lines += [f"input     {_shown(info)}" for info in inputs or ()]
        if inputs is None:
            lines.append("input     known only to TensorFlow: samples are compared when the recipe is converted")
        if recipe.dataset is not None:
            request = FirstSample(dataset=recipe.dataset, inputs=inputs)
            scanned = child.ask(request, Scanned, "read the first samples")
            lines.append(
                f"samples   {scanned.calibration_samples} for calibration, {scanned.evaluation_samples} for evaluation"
                + (", labelled" if scanned.labelled or _has_targets(recipe.dataset) else ", not labelled")
            )
            if data and inputs is not None:
                examine = Examine(
                    model=recipe.model.path, inputs=inputs, dataset=recipe.dataset, most_evaluation=_MOST_EVALUATION
                )
                found = child.ask(examine, Examined, "examination of the samples").findings
                lines += [f"data      {finding}" for finding in found or ("nothing odd about the calibration samples",)]
    return tuple(lines)


def _has_targets(dataset: Dataset) -> bool:
    """Whether the evaluation samples have masks, boxes or transcripts."""
    return dataset.evaluation is not None and isinstance(dataset.evaluation.labels, TASK_LABELS)


def _inputs(model: Model, described: Described) -> tuple[TensorInfo, ...] | None:
    """What ``convert`` will feed; ``None`` where only TensorFlow knows."""
    if described.inputs is None:
        return None
    if described.kind == "tflite":
        return float_inputs(model, described.inputs, described.quantized)
    return fixed_inputs(model, described.inputs)


@contextmanager
def runtime() -> Iterator[Worker]:
    """A runtime child for a few short questions."""
    with scratch_folder() as folder:
        worker = Worker(RUNTIME, folder / LOG_NAME, timeout_s=600, scratch=folder)
        try:
            yield worker
        finally:
            worker.kill()


def _shown(info: TensorInfo) -> str:
    return f"{info.name} {'x'.join('?' if size < 0 else str(size) for size in info.shape)} {info.dtype}"
