"""Where the cache is and how large it may grow."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import platformdirs

from tflite_ptq.errors import UsageError

FOLDER_VARIABLE = "TFLITE_PTQ_CACHE"
SIZE_VARIABLE = "TFLITE_PTQ_CACHE_MAX_MIB"
_DEFAULT_MIB = 5_120


@dataclass(frozen=True)
class Place:
    """A folder, and how many bytes its entries may take before the least recently used ones go."""

    folder: Path
    most_bytes: int


def place(folder: Path | None = None) -> Place:
    """``folder``, else ``TFLITE_PTQ_CACHE``, else the platform's own (``~/.cache/tflite-ptq`` on Linux).

    Raises ``UsageError`` for a size that is none.
    """
    given = folder or os.environ.get(FOLDER_VARIABLE)
    chosen = Path(given) if given else platformdirs.user_cache_path("tflite-ptq", appauthor=False)
    return Place(chosen.absolute(), _most_bytes(os.environ.get(SIZE_VARIABLE)))


def _most_bytes(text: str | None) -> int:
    if not text:
        return _DEFAULT_MIB << 20
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value < float("inf"):
        raise UsageError(f"{SIZE_VARIABLE}={text}: expected MiB, 0 or more ({_DEFAULT_MIB:,} where it is not set)")
    return int(value * (1 << 20))
