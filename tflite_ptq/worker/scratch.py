"""A temporary folder for a few short jobs of a child, with its log; the log outlives the folder's job after a crash."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tflite_ptq.errors import OutputError, WorkerCrash

LOG_NAME = "log.txt"
_KEPT = ".kept"


def new_folder() -> Path:
    """A new temporary folder. Raises ``OutputError`` where none can be made."""
    try:
        return Path(tempfile.mkdtemp(prefix="tflite-ptq-"))
    except OSError as error:
        raise OutputError(f"no temporary folder can be made ({error}); set TMPDIR to a folder with space") from error


@contextmanager
def scratch_folder() -> Iterator[Path]:
    """Removed in the end, unless a ``WorkerCrash`` passes through: its message names the log in the folder."""
    folder = new_folder()
    try:
        yield folder
    except WorkerCrash:
        keep_log(folder)
        raise
    finally:
        if not (folder / _KEPT).exists():
            shutil.rmtree(folder, ignore_errors=True)


def keep_log(folder: Path) -> None:
    """Leaves of a scratch folder its log, which a message names."""
    for other in folder.iterdir():
        if other.is_dir():
            shutil.rmtree(other, ignore_errors=True)
        elif other.name != LOG_NAME:
            other.unlink(missing_ok=True)
    (folder / _KEPT).touch()
