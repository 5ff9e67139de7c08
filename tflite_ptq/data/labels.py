"""Give every sample of a subset its label: class folders, a CSV, a ``.npy``, an array of the ``.npz``, or none."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from tflite_ptq.data.coco import attach_boxes
from tflite_ptq.data.csv_labels import attach_transcripts, read_csv
from tflite_ptq.data.index import Index, SampleRef
from tflite_ptq.data.masks import attach_masks
from tflite_ptq.data.stored import BROKEN, Array, Stored, npy_header, npz_headers, unreadable
from tflite_ptq.errors import DataError
from tflite_ptq.recipe.dataset import Format, ImageFormat, NpzFormat, Step
from tflite_ptq.recipe.labels import CocoLabels, CsvLabels, KeyLabels, Labels, MaskLabels, TranscriptLabels


@dataclass(frozen=True)
class Labelled:
    """Samples with their labels, and the class names where they are known; ``folders``: they come from folders."""

    refs: tuple[SampleRef, ...]
    classes: tuple[str, ...] | None
    folders: bool = False


def label(
    found: Index,
    labels: Labels | None,
    fmt: Format,
    classes: tuple[str, ...] | None,
    where: str,
    steps: tuple[Step, ...] = (),
) -> Labelled:
    """Label the samples of ``found``; ``where`` is the subset's place in the recipe (``dataset.evaluation``), ``steps``
    the preprocessing, which masks and boxes share with their images.

    Raises DataError: labels that name missing files, samples without a label, classes out of range.
    """
    if labels is None:
        labels = _default(found, fmt, where)
    if labels == "none":
        return Labelled(found.refs, classes)
    if labels == "folders":
        return _by_folder(found, classes, where)
    if isinstance(labels, MaskLabels):
        of_image = steps if isinstance(fmt, ImageFormat) else None
        return Labelled(attach_masks(found.refs, labels, of_image, where), classes)
    if isinstance(labels, CocoLabels):
        return Labelled(attach_boxes(found.refs, labels, steps, where), classes)
    if isinstance(labels, TranscriptLabels):
        return Labelled(attach_transcripts(found.refs, labels), classes)
    if isinstance(labels, CsvLabels) or (isinstance(labels, str) and labels.lower().endswith(".csv")):
        block = labels if isinstance(labels, CsvLabels) else CsvLabels(csv=labels)
        return Labelled(_attach(found.refs, read_csv(found.refs, block, classes)), classes)
    if isinstance(labels, KeyLabels):
        if not isinstance(fmt, NpzFormat):
            raise DataError(f"{where}.labels: an array's key is for format npz, not {fmt.type}; give a .csv or .npy")
        return Labelled(_attach(found.refs, _by_key(found.refs, labels.key, classes, where)), classes)
    if labels.lower().endswith(".npy"):
        return Labelled(_attach(found.refs, _by_npy(found.refs, Path(labels), classes, where)), classes)
    raise DataError(f"{where}.labels: '{labels}' is not 'folders', 'none', a .csv or a .npy file")


def _attach(refs: Sequence[SampleRef], values: Sequence[int | float]) -> tuple[SampleRef, ...]:
    return tuple(SampleRef(ref.file, ref.index, value, ref.root) for ref, value in zip(refs, values, strict=True))


def _default(found: Index, fmt: Format, where: str) -> str:
    if fmt.type != "image":
        return "none"
    flat = [ref.name for ref in found.refs if "/" not in ref.name]
    if not flat or len(flat) == len(found.refs):
        return "none" if flat else "folders"
    raise DataError(
        f"{found.path}: {len(flat)} images ('{flat[0]}') lie beside folders that hold images; set {where}.labels to "
        "'none', or move them into class folders"
    )


def _by_folder(found: Index, classes: tuple[str, ...] | None, where: str) -> Labelled:
    if not found.folders:
        raise DataError(f"{found.path}: has no class folders; set {where}.labels to 'none', a .csv or a .npy")
    tops = [ref.name.partition("/") for ref in found.refs]
    flat = [top for top, slash, _ in tops if not slash]
    if flat:
        raise DataError(
            f"{found.path}: {len(flat)} samples ('{flat[0]}') lie in no class folder; move them into one, or set "
            f"{where}.labels to 'none'"
        )
    filled = {top for top, _, _ in tops}
    empty = [folder for folder in found.folders if folder not in filled]
    if classes is None and empty:
        raise DataError(
            f"{found.path}: class folder '{empty[0]}' holds no samples, which would shift the class indices; "
            "remove it or list dataset.classes"
        )
    names = classes if classes is not None else found.folders
    numbers = {name: number for number, name in enumerate(names)}
    for top in sorted(filled):
        if top not in numbers:
            raise DataError(
                f"{found.path / top}: folder '{top}' is not in dataset.classes ({_some(names)}); add it there, or "
                f"set {where}.labels to 'none'"
            )
    refs = tuple(replace(ref, label=numbers[top]) for ref, (top, _, _) in zip(found.refs, tops, strict=True))
    return Labelled(refs, names, folders=True)


def _by_npy(refs: Sequence[SampleRef], file: Path, classes: tuple[str, ...] | None, where: str) -> list[int | float]:
    if not file.is_file():
        raise DataError(f"{file}: no such label file; correct {where}.labels")
    return _numbers(_whole(npy_header(file)), len(refs), str(file), classes)


def _by_key(refs: Sequence[SampleRef], key: str, classes: tuple[str, ...] | None, where: str) -> list[int | float]:
    def array(file: Path) -> Array:
        headers = npz_headers(file)
        if key not in headers:
            raise DataError(f"{file}: has no array '{key}'; correct {where}.labels.key ({', '.join(headers)})")
        return _whole(headers[key])

    if refs and refs[0].index is not None:
        return _numbers(array(refs[0].file), len(refs), f"{refs[0].file}: array '{key}'", classes)
    return [_numbers(array(ref.file).reshape(-1), 1, f"{ref.file}: array '{key}'", classes)[0] for ref in refs]


def _whole(stored: Stored) -> Array:
    try:
        return stored.values(0, int(np.prod(stored.shape, dtype=np.int64))).reshape(stored.shape)
    except BROKEN as error:
        raise unreadable(stored.file, error) from error


def _numbers(array: Array, count: int, what: str, classes: tuple[str, ...] | None) -> list[int | float]:
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    if array.shape != (count,):
        raise DataError(
            f"{what}: {count} labels of shape ({count},) expected, one a sample in the order of their names, got shape "
            f"{array.shape}; write the labels again"
        )
    if array.dtype.kind not in "biuf":
        raise DataError(f"{what}: labels must be numbers, got {array.dtype.name}; write class indices")
    values = array.astype(np.float64)
    if not np.isfinite(values).all():
        first = int(np.flatnonzero(~np.isfinite(values))[0])
        raise DataError(f"{what}: label {first} is {values[first]}; give every sample a finite label")
    if classes is not None:
        wrong = np.flatnonzero((values < 0) | (values >= len(classes)) | (values != np.floor(values)))
        if wrong.size:
            raise DataError(
                f"{what}: label {wrong[0]} is {values[wrong[0]]:g}, not a class 0..{len(classes) - 1} of "
                "dataset.classes; correct the label or list all classes"
            )
    whole = bool((values == np.floor(values)).all())  # classes are often saved as floats
    return [int(value) for value in values] if whole else [float(value) for value in values]


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:8]) + (f", ... {len(names)} in all" if len(names) > 8 else "")
