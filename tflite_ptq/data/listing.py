"""Which files of a folder are samples, by their names alone."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Container, Mapping
from pathlib import Path
from typing import Literal

from tflite_ptq.errors import DataError

Kind = Literal["image", "npy", "npz", "raw"]
EXTENSIONS: Mapping[Kind, tuple[str, ...]] = {
    "image": (".jpg", ".jpeg", ".png", ".bmp", ".webp"),
    "npy": (".npy",),
    "npz": (".npz",),
    "raw": (".bin", ".raw", ".dat", ".pcm"),
}


def list_files(root: Path, extensions: Container[str]) -> tuple[list[str], tuple[str, ...], Counter[str]]:
    """Names below ``root`` of all files with such an extension, as plain text sorts them; the folders directly below
    it; and how many other files there are, by extension. Hidden ones are left out; links are followed, but not in
    circles. Raises ``DataError`` where a folder cannot be listed or a name is no text.
    """
    names: list[str] = []
    folders: list[str] = []
    others: Counter[str] = Counter()
    seen: set[str] = set()
    pending = [(str(root), "")]
    while pending:
        folder, prefix = pending.pop()
        real = os.path.realpath(folder)
        if real in seen:  # a link back to a folder above would never end
            continue
        seen.add(real)
        try:
            with os.scandir(folder) as entries:
                for entry in entries:
                    if entry.name.startswith("."):
                        continue
                    if entry.is_dir():
                        pending.append((entry.path, f"{prefix}{entry.name}/"))
                        if not prefix:
                            folders.append(entry.name)
                    elif (suffix := os.path.splitext(entry.name)[1].lower()) in extensions:  # noqa: PTH122
                        names.append(prefix + entry.name)
                    else:
                        others[suffix] += 1
        except OSError as error:
            raise DataError(f"{folder}: cannot be listed: {error.strerror}; correct its permissions") from error
    for name in (*names, *folders):
        _check_text(root, name)
    return sorted(names), tuple(sorted(folders)), others


def _check_text(root: Path, name: str) -> None:
    """A name whose bytes are no UTF-8 is no text, and neither reports nor a CSV of labels can hold it."""
    if not name.isascii():
        try:
            name.encode()
        except UnicodeEncodeError:
            shown = os.fsencode(name).decode(errors="backslashreplace")
            raise DataError(
                f"{root}/{shown}: the file's name is not UTF-8; rename it (convmv does many at once)"
            ) from None
