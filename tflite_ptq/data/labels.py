"""Labels from class folders, a CSV, an .npy or an array of the .npz; each as a class index or a number."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath

from tflite_ptq.data.csv_labels import read_csv
from tflite_ptq.data.index import SampleRef
from tflite_ptq.data.stored import Array, npy_header, npz_headers
from tflite_ptq.errors import DataError
from tflite_ptq.recipe.dataset import CsvLabels, ImageFormat, KeyLabels, Labels

Label = int | float


def labelled(
    refs: Sequence[SampleRef], labels: Labels | None, classes: tuple[str, ...] | None, form: object
) -> tuple[tuple[SampleRef, ...], tuple[str, ...] | None]:
    """The samples with their labels, and the class names where they are known.

    Raises ``DataError`` where a label names a missing file, a sample has none, or a class is out of range.
    """
    if labels == "none":
        return tuple(refs), classes
    if labels is None:
        in_folders = isinstance(form, ImageFormat) and all("/" in ref.file_name for ref in refs)
        if not in_folders:
            return tuple(refs), classes
        labels = "folders"
    if labels == "folders":
        return _from_folders(refs, classes)
    if isinstance(labels, KeyLabels):
        found = [_from_key(ref, labels.key) for ref in refs]
    elif isinstance(labels, CsvLabels):
        found = read_csv(refs, labels, classes)
    elif labels.lower().endswith(".npy"):
        found = _from_npy(refs, Path(labels))
    elif labels.lower().endswith((".csv", ".txt", ".tsv")):
        delimiter = "\t" if labels.lower().endswith(".tsv") else ","
        found = read_csv(refs, CsvLabels(csv=labels, delimiter=delimiter), classes)
    else:
        raise DataError(
            f"{labels}: labels are 'folders', 'none', a .csv or a .npy; or give {{csv: ...}} or {{key: ...}}"
        )
    if classes is not None:
        for ref, label in zip(refs, found, strict=True):
            if isinstance(label, float) or not 0 <= label < len(classes):
                raise DataError(
                    f"{ref.name}: label {label} is out of range: dataset.classes names {len(classes)} classes "
                    f"(0 to {len(classes) - 1})"
                )
    return tuple(replace(ref, label=label) for ref, label in zip(refs, found, strict=True)), classes


def _from_folders(
    refs: Sequence[SampleRef], classes: tuple[str, ...] | None
) -> tuple[tuple[SampleRef, ...], tuple[str, ...]]:
    folders = [PurePosixPath(ref.file_name).parts[0] if "/" in ref.file_name else None for ref in refs]
    if None in folders:
        stray = refs[folders.index(None)]
        raise DataError(
            f"{stray.file}: lies in no class folder; move it into one, or set labels: none where there are no classes"
        )
    names = classes or tuple(sorted({name for name in folders if name is not None}))
    number = {name: position for position, name in enumerate(names)}
    found = []
    for ref, name in zip(refs, folders, strict=True):
        if name not in number:
            raise DataError(
                f"{ref.root}: class folder '{name}' is not among dataset.classes ({', '.join(names)}); add it"
            )
        found.append(replace(ref, label=number[name]))
    return tuple(found), names


def _from_key(ref: SampleRef, key: str) -> Label:
    arrays = npz_headers(ref.file)
    if key not in arrays:
        raise DataError(f"{ref.file}: labels.key: there is no array '{key}' in the file ({', '.join(arrays)})")
    stored = arrays[key]
    value = stored.values(0, math.prod(stored.shape)) if ref.index is None else stored.sample(ref.index)
    return _number(value, f"{ref.name}: array '{key}'")


def _from_npy(refs: Sequence[SampleRef], file: Path) -> list[Label]:
    if not file.is_file():
        raise DataError(f"{file}: there is no such label file; correct labels in the recipe")
    stored = npy_header(file)
    count = stored.shape[0] if stored.shape else 1
    if count != len(refs):
        raise DataError(
            f"{file}: holds {count} labels for {len(refs)} samples; it needs one a sample, in the order of the sorted "
            "file names"
        )
    rows = stored.values(0, math.prod(stored.shape)).reshape(count, -1)
    return [_number(row, f"{file}[{position}]") for position, row in enumerate(rows)]


def _number(value: Array, where: str) -> Label:
    """A class index or a number; a one-hot row is taken as the class that it marks."""
    if value.size == 1:
        single = value.reshape(()).item()
        if isinstance(single, bool | int):
            return int(single)
        if isinstance(single, float):
            return int(single) if single.is_integer() else single
    elif value.ndim == 1 and sorted(value.tolist()) == [0] * (value.size - 1) + [1]:
        return int(value.tolist().index(1))
    raise DataError(f"{where}: a label is one number (or a one-hot row), got shape {value.shape} {value.dtype}")
