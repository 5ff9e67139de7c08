"""Which samples there are: files below a folder, or the entries of one stacked file or long recording."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tflite_ptq.data.stored import npy_header, npz_headers, window_count
from tflite_ptq.errors import DataError
from tflite_ptq.recipe.dataset import Format, NpyFormat, NpzFormat, RawFormat

_SUFFIXES = {
    "image": (".jpg", ".jpeg", ".png", ".bmp", ".webp"),
    "npy": (".npy",),
    "npz": (".npz",),
    "raw": (".bin", ".raw", ".dat"),
}


@dataclass(frozen=True)
class SampleRef:
    """One sample: a file, or entry ``index`` of a stacked file or recording. ``root`` is the subset's path."""

    file: Path
    index: int | None
    root: Path
    label: int | float | None = None

    @property
    def file_name(self) -> str:
        """The file's path below the subset's folder, with forward slashes."""
        return self.file.name if self.file == self.root else self.file.relative_to(self.root).as_posix()

    @property
    def name(self) -> str:
        """``cat/0001.jpg``, or ``features.npy[12]``."""
        return self.file_name if self.index is None else f"{self.file_name}[{self.index}]"

    @property
    def place(self) -> str:
        """The whole path, for messages."""
        return str(self.file) if self.index is None else f"{self.file}[{self.index}]"


def index(path: Path, form: Format) -> tuple[SampleRef, ...]:
    """All samples below ``path`` in the order of their names; a file is its own only source.

    Raises ``DataError`` for a missing path, a folder without samples, and a file that cannot be counted.
    """
    if not path.exists():
        raise DataError(f"{path}: there is no such file or folder; correct the path in the recipe's dataset")
    if path.is_file():
        return tuple(_inside(path, path, form, stacked=True))
    if not path.is_dir():
        raise DataError(f"{path}: is neither a file nor a folder; name the folder that holds the samples")
    wanted, others = _SUFFIXES[form.type], 0
    files: list[Path] = []
    for file in _walk(path):
        if file.suffix.lower() in wanted:
            files.append(file)
        else:
            others += 1
    if not files:
        raise DataError(
            f"{path}: the folder holds no {form.type} samples (looked for {', '.join(wanted)}; found {others} other "
            "files); correct the path or dataset.format.type"
        )
    return tuple(ref for file in files for ref in _inside(file, path, form, stacked=False))


def _walk(folder: Path) -> Iterator[Path]:
    try:
        for root, folders, names in os.walk(folder, followlinks=True, onerror=_raise):
            folders[:] = sorted(name for name in folders if not name.startswith("."))
            yield from (Path(root, name) for name in sorted(names) if not name.startswith("."))
    except OSError as error:
        raise DataError(f"{folder}: the folder cannot be read ({error}); check its permissions") from error


def _raise(error: OSError) -> None:
    raise error


def _inside(file: Path, root: Path, form: Format, *, stacked: bool) -> Iterator[SampleRef]:
    count = _entries(file, form, stacked=stacked)
    if count is None:
        yield SampleRef(file, None, root)
        return
    if count == 0:
        raise DataError(f"{file}: holds no sample; it has no entries along axis 0")
    for entry in range(count):
        yield SampleRef(file, entry, root)


def _entries(file: Path, form: Format, *, stacked: bool) -> int | None:
    """How many samples a file holds; ``None`` where the file is one sample."""
    match form:
        case RawFormat(stride=int(stride)):
            values = file.stat().st_size // np.dtype(form.dtype).itemsize
            return window_count(file, values, form.shape, stride)
        case NpyFormat(stride=int(stride), shape=tuple(shape)):
            return window_count(file, math.prod(npy_header(file).shape), shape, stride)
        case NpyFormat() if stacked:
            return _first_axis(file, npy_header(file).shape)
        case NpzFormat() if stacked:
            lengths = {name: array.shape[0] for name, array in npz_headers(file).items() if array.shape}
            if len(set(lengths.values())) > 1:
                raise DataError(
                    f"{file}: the arrays of a stacked .npz must be of one length along axis 0, got "
                    f"{', '.join(f'{name}: {length}' for name, length in lengths.items())}"
                )
            return next(iter(lengths.values()), 0)
        case _:
            return None


def _first_axis(file: Path, shape: tuple[int, ...]) -> int:
    if not shape:
        raise DataError(f"{file}: holds a single number, not samples stacked along axis 0")
    return shape[0]
