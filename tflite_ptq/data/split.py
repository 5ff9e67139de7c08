"""The calibration and the evaluation samples of a dataset: chosen by its settings, disjoint by default."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tflite_ptq.data.index import SampleRef, index
from tflite_ptq.data.labels import labelled
from tflite_ptq.data.sampling import choose
from tflite_ptq.errors import DataError
from tflite_ptq.recipe.dataset import Calibration, Dataset, Evaluation, Subset


@dataclass(frozen=True)
class Split:
    """``left_out`` evaluation samples were left out because calibration uses them."""

    calibration: tuple[SampleRef, ...]
    evaluation: tuple[SampleRef, ...]
    left_out: int
    classes: tuple[str, ...] | None


def split(dataset: Dataset) -> Split:
    """Chooses the samples. Raises ``DataError`` for whatever is wrong with folders and labels, and where nothing is
    left for evaluation."""
    calibration: tuple[SampleRef, ...] = ()
    classes = dataset.classes
    if dataset.calibration is not None:
        refs, classes = _subset(dataset, dataset.calibration)
        calibration = _chosen(refs, dataset.calibration, dataset.calibration.samples, "dataset.calibration")
    if dataset.evaluation is None:
        return Split(calibration, (), 0, classes)
    refs, classes = _subset(dataset, dataset.evaluation)
    settings = dataset.evaluation
    left_out = 0
    if not settings.include_calibration:
        used = {_identity(ref) for ref in calibration}
        kept = tuple(ref for ref in refs if _identity(ref) not in used)
        left_out = len(refs) - len(kept)
        if not kept:
            raise DataError(
                f"{settings.path}: calibration uses all {len(refs)} samples and none is left for evaluation; lower "
                "dataset.calibration.samples, or set dataset.evaluation.include_calibration: true"
            )
        refs = kept
    count = len(refs) if settings.samples is None else settings.samples
    return Split(calibration, _chosen(refs, settings, count, "dataset.evaluation"), left_out, classes)


def _subset(dataset: Dataset, subset: Subset) -> tuple[tuple[SampleRef, ...], tuple[str, ...] | None]:
    return labelled(index(Path(subset.path), dataset.format), subset.labels, dataset.classes, dataset.format)


def _chosen(
    refs: Sequence[SampleRef], settings: Calibration | Evaluation, count: int, key: str
) -> tuple[SampleRef, ...]:
    if settings.select == "stratified" and any(ref.label is None for ref in refs):
        raise DataError(
            f"{settings.path}: {key}.select: stratified needs labels, and the samples have none; give labels or choose "
            "random"
        )
    return tuple(refs[i] for i in choose([ref.label for ref in refs], count, settings.select, settings.seed))


def _identity(ref: SampleRef) -> tuple[str, int | None]:
    return str(ref.file.resolve()), ref.index
