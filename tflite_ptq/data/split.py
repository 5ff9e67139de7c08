"""Which samples calibrate and which evaluate; by default none does both."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from tflite_ptq.data.index import SampleRef, index
from tflite_ptq.data.labels import Labelled, label
from tflite_ptq.data.sampling import choose, disjoint
from tflite_ptq.errors import DataError
from tflite_ptq.recipe.dataset import Calibration, Dataset, Evaluation, Subset
from tflite_ptq.recipe.labels import KeyLabels


@dataclass(frozen=True)
class Split:
    """The samples of a run, each in the order of its name.

    ``left_out`` counts samples of the evaluation path that were left out because calibration uses them; ``classes``
    are the class names in the order of label indices, ``None`` where they are not known.
    """

    calibration: tuple[SampleRef, ...]
    evaluation: tuple[SampleRef, ...]
    left_out: int
    classes: tuple[str, ...] | None


def split(dataset: Dataset) -> Split:
    """Index, label and choose. Calibration chooses first and takes all there is where more is asked for.

    Two samples are the same where file (links resolved) and position are; overlapping windows are distinct.
    Raises DataError, also where nothing is left to evaluate on.
    """
    here = _labelled(dataset, dataset.calibration, "dataset.calibration")
    same = _same_source(dataset.calibration, dataset.evaluation)
    there = here if same else _labelled(dataset, dataset.evaluation, "dataset.evaluation")
    _same_classes(here, there)
    classes = there.classes if there is not None else here.classes if here is not None else dataset.classes
    calibration: tuple[SampleRef, ...] = ()
    if here is not None and dataset.calibration is not None:
        calibration = _chosen(here.refs, dataset.calibration, dataset.calibration.samples, "dataset.calibration")
    if there is None or dataset.evaluation is None:
        return Split(calibration, (), 0, classes)
    remaining = there.refs
    if calibration and not dataset.evaluation.include_calibration:
        kept = disjoint(_identities(there.refs), _identities(calibration))
        remaining = tuple(there.refs[position] for position in kept)
    if not remaining:
        raise DataError(
            f"{dataset.evaluation.path}: all {len(there.refs)} samples are used for calibration, none is left to "
            f"evaluate on; lower dataset.calibration.samples ({dataset.calibration and dataset.calibration.samples}), "
            "give dataset.evaluation another path, or set dataset.evaluation.include_calibration to true"
        )
    left_out = len(there.refs) - len(remaining)
    count = dataset.evaluation.samples
    evaluation = remaining if count is None else _chosen(remaining, dataset.evaluation, count, "dataset.evaluation")
    return Split(calibration, evaluation, left_out, classes)


def _labelled(dataset: Dataset, subset: Subset | None, where: str) -> Labelled | None:
    if subset is None:
        return None
    key = subset.labels.key if isinstance(subset.labels, KeyLabels) else None
    found = index(Path(subset.path), dataset.format, where, key)
    return label(found, subset.labels, dataset.format, dataset.classes, where, dataset.preprocess)


def _same_source(first: Subset | None, second: Subset | None) -> bool:
    return first is not None and second is not None and (first.path, first.labels) == (second.path, second.labels)


def _same_classes(here: Labelled | None, there: Labelled | None) -> None:
    if here is None or there is None or not (here.folders and there.folders) or here.classes == there.classes:
        return
    odd = sorted(set(here.classes or ()) ^ set(there.classes or ()))
    raise DataError(
        "dataset.calibration and dataset.evaluation have different class folders "
        f"({', '.join(repr(name) for name in odd[:5])} only in one of them), so their class indices differ; list "
        "dataset.classes in the order of the model's output"
    )


def _chosen(
    refs: tuple[SampleRef, ...], subset: Calibration | Evaluation, count: int, where: str
) -> tuple[SampleRef, ...]:
    if subset.select == "stratified" and not all(isinstance(ref.label, int) for ref in refs):
        got = "regression targets" if any(ref.label is not None for ref in refs) else "none"
        raise DataError(
            f"{subset.path}: select: stratified needs a class for every sample, got {got}; give {where}.labels or set "
            f"{where}.select to random"
        )
    return tuple(refs[position] for position in choose([r.label for r in refs], count, subset.select, subset.seed))


def _identities(refs: tuple[SampleRef, ...]) -> list[tuple[str, int | None]]:
    folders: dict[Path, str] = {}
    keys: list[tuple[str, int | None]] = []
    for ref in refs:
        parent = ref.file.parent
        if parent not in folders:  # resolving every file of a large folder is slow
            folders[parent] = os.path.realpath(parent)
        linked = ref.file.is_symlink()
        real = os.path.realpath(ref.file) if linked else folders[parent] + os.sep + ref.file.name
        keys.append((real, ref.index))
    return keys
