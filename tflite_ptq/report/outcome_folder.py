"""The folder that a run writes to: made and proved writable before, emptied of what an earlier run left."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

from tflite_ptq import atomic
from tflite_ptq.report import files, gitlab

LOG_NAME = "log.txt"
MANIFEST_NAME = "manifest.json"
REPORTS = (*files.NAMES, files.TIMINGS_NAME, gitlab.NAME)
"""What a run writes beside its variants, the log and the manifest."""


def prepare(folder: Path) -> None:
    """Makes the folder, with an empty log. Raises ``OutputError`` where it cannot be written, ``DiskFullError``."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
        (folder / LOG_NAME).write_text("", encoding="utf-8")
        atomic.sweep(folder)  # what a run that was killed could not remove
    except OSError as error:
        raise atomic.write_error(folder, error) from error


def clear(folder: Path, names: Sequence[str]) -> None:
    """Removes what an earlier run left under the names that this one will write: reports and variants ``names``."""
    try:
        for name in (*_written(names), MANIFEST_NAME):
            (folder / name).unlink(missing_ok=True)
    except OSError as error:
        raise atomic.write_error(folder, error) from error


def left(folder: Path, names: Sequence[str]) -> tuple[str, ...]:
    """The files that a finished run of the variants ``names`` left, but for the log and the manifest."""
    return tuple(name for name in _written(names) if (folder / name).is_file())


def _written(names: Sequence[str]) -> tuple[str, ...]:
    return (*(f"{name}.tflite" for name in names), *REPORTS)
