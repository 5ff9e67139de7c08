"""Which samples a subset holds, in one fixed order; no sample is decoded here."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tflite_ptq.data.listing import EXTENSIONS, list_files
from tflite_ptq.data.stored import Stored, npy_header, npz_headers, window_count
from tflite_ptq.data.targets import Target
from tflite_ptq.errors import DataError
from tflite_ptq.recipe.dataset import Format, ImageFormat, NpyFormat, NpzFormat, RawFormat


@dataclass(frozen=True, slots=True)
class SampleRef:
    """One sample: a file, and the position in it where a file holds several.

    ``label`` is a class index (int) or a regression target (float); ``root`` is the folder that names count from;
    ``target`` is what segmentation, detection and speech have in place of a label.
    """

    file: Path
    index: int | None
    label: int | float | None
    root: Path
    target: Target = None

    @property
    def file_name(self) -> str:
        """The file, relative to the subset's folder, with forward slashes: ``cat/0001.jpg``."""
        return str(self.file)[len(str(self.root)) :].replace(os.sep, "/").lstrip("/")

    @property
    def name(self) -> str:
        """``cat/0001.jpg``, or ``x.npy[12]`` for a sample of a stacked file or a window."""
        return self.file_name if self.index is None else f"{self.file_name}[{self.index}]"

    @property
    def truth(self) -> int | float | Target:
        """What the sample is held against: its target, or its label, or None."""
        return self.label if self.target is None else self.target

    @property
    def place(self) -> str:
        """The whole path, as messages name it."""
        return str(self.file) if self.index is None else f"{self.file}[{self.index}]"


@dataclass(frozen=True)
class Index:
    """All samples below ``path``, sorted by name as plain text, and the folders directly below it."""

    path: Path
    refs: tuple[SampleRef, ...]
    folders: tuple[str, ...]


def index(path: Path, fmt: Format, where: str, label_key: str | None = None) -> Index:
    """Find the samples of one subset; ``where`` is its place in the recipe (``dataset.calibration``).

    ``label_key`` names the array of a stacked ``.npz`` that holds labels. Hidden files are ignored.
    Raises DataError: missing path, wrong kind of path, no samples.
    """
    if not path.exists():
        raise DataError(f"{path}: no such file or folder; correct {where}.path")
    if path.is_file():
        return Index(path, _inside(path, path.parent, fmt, label_key, where), ())
    names, folders, others = list_files(path, EXTENSIONS[fmt.type])
    if not names:
        looked = ", ".join(EXTENSIONS[fmt.type])
        beside = ", ".join(f"{count} {suffix or 'without extension'}" for suffix, count in others.most_common(5))
        lie = f"{others.total()} other files lie there ({beside})" if others else "it holds no other files either"
        raise DataError(
            f"{path}: no {fmt.type} files found (looked for {looked}; {lie}); correct {where}.path or "
            "dataset.format.type"
        )
    files = [path / name for name in names]
    if isinstance(fmt, (ImageFormat, NpzFormat)) or fmt.stride is None:
        return Index(path, tuple(SampleRef(file, None, None, path) for file in files), folders)
    return Index(path, tuple(ref for file in files for ref in _windows(file, path, fmt)), folders)


def _inside(file: Path, root: Path, fmt: Format, label_key: str | None, where: str) -> tuple[SampleRef, ...]:
    if isinstance(fmt, ImageFormat):
        raise DataError(f"{file}: is a file, images are read from a folder; set {where}.path to the folder")
    if not isinstance(fmt, RawFormat) and file.suffix.lower() not in EXTENSIONS[fmt.type]:
        raise DataError(f"{file}: is not a .{fmt.type} file; correct {where}.path or dataset.format.type ({fmt.type})")
    if not isinstance(fmt, NpzFormat) and fmt.stride is not None:
        return _windows(file, root, fmt)
    if isinstance(fmt, RawFormat):
        return (SampleRef(file, None, None, root),)
    count = _stacked(npy_header(file), file) if isinstance(fmt, NpyFormat) else _stacked_npz(file, fmt, label_key)
    if count == 0:
        raise DataError(f"{file}: holds no samples (length 0 along axis 0); correct {where}.path")
    return tuple(SampleRef(file, i, None, root) for i in range(count))


def _stacked(stored: Stored, file: Path) -> int:
    if not stored.shape:
        raise DataError(f"{file}: holds a single number, expected samples stacked along axis 0; write the file again")
    return stored.shape[0]


def _stacked_npz(file: Path, fmt: NpzFormat, label_key: str | None) -> int:
    headers = npz_headers(file)
    for key in fmt.keys.values():
        if key not in headers:
            raise DataError(f"{file}: has no array '{key}'; correct dataset.format.keys ({', '.join(headers)})")
    lengths = {key: stored.shape[0] for key, stored in headers.items() if stored.shape and key != label_key}
    if len(set(lengths.values())) > 1 and fmt.keys:
        lengths = {key: lengths[key] for key in fmt.keys.values() if key in lengths}
    if len(set(lengths.values())) != 1:
        seen = ", ".join(f"{key}: {length}" for key, length in lengths.items()) or "no array has an axis 0"
        raise DataError(
            f"{file}: arrays of one stacked file must have the same length along axis 0, got {seen}; "
            "name those that belong to the model under dataset.format.keys"
        )
    return next(iter(lengths.values()))


def _windows(file: Path, root: Path, fmt: RawFormat | NpyFormat) -> tuple[SampleRef, ...]:
    if fmt.shape is None or fmt.stride is None:
        raise ValueError("windows need shape and stride")
    if isinstance(fmt, RawFormat):
        size_bytes, item_bytes = file.stat().st_size, np.dtype(fmt.dtype).itemsize
        if size_bytes % item_bytes:
            raise DataError(
                f"{file}: {size_bytes} bytes are not a whole number of {fmt.dtype} values ({item_bytes} bytes each); "
                "correct dataset.format.dtype or write the file again"
            )
        values = size_bytes // item_bytes
    else:
        values = int(np.prod(npy_header(file).shape, dtype=np.int64))
    count = window_count(file, values, fmt.shape, fmt.stride)
    return tuple(SampleRef(file, i, None, root) for i in range(count))
