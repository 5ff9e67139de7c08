"""Files appear whole or not at all: written beside their place, then renamed."""

from __future__ import annotations

import contextlib
import errno
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tflite_ptq.errors import DiskFullError, OutputError, UserError

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


def write(path: Path, data: bytes) -> None:
    """Puts ``data`` at ``path``, replacing what is there; on failure ``path`` is as before and nothing lies beside it.

    Raises ``DiskFullError`` when space or quota runs out, ``OutputError`` when the folder cannot be written.
    """
    with staged(path) as part:
        part.write_bytes(data)


@contextlib.contextmanager
def staged(path: Path) -> Iterator[Path]:
    """A temporary file beside ``path``, renamed to ``path`` when the block ends well, else removed."""
    part: Path | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent)
        os.close(handle)
        part = Path(name)
        yield part
        part.chmod(0o666 & ~_umask())
        part.replace(path)
    except OSError as error:
        raise write_error(path, error) from error
    finally:
        if part is not None:
            part.unlink(missing_ok=True)


def sweep(folder: Path) -> None:
    """Removes what a process that was killed while writing left in ``folder``."""
    for part in folder.glob(".*.part"):
        part.unlink(missing_ok=True)


def write_error(path: Path, error: OSError) -> UserError:
    """The user's error for an ``OSError`` met while writing ``path``."""
    if error.errno in _FULL:
        return DiskFullError(f"{path}: no space left on the disk while writing; free some space or choose --output DIR")
    in_the_way = isinstance(error, (FileExistsError, NotADirectoryError))
    reason = "a file lies where a folder is needed" if in_the_way else error.strerror or str(error)
    return OutputError(f"{path}: cannot be written ({reason}); choose another folder with --output DIR")


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
