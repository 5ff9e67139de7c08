"""What the cache holds, and making room in it: the least recently used entries go first."""

from __future__ import annotations

import contextlib
import shutil
import time
from dataclasses import dataclass
from pathlib import Path

from tflite_ptq.cache.store import discard, entries

_ABANDONED_S = 3600.0
"""A part this old belongs to a run that was killed."""


@dataclass(frozen=True)
class Held:
    """One entry: its step, its place, its size and when it was last used (seconds since the epoch)."""

    kind: str
    path: Path
    size_bytes: int
    used: float


def holdings(folder: Path) -> tuple[Held, ...]:
    """All entries, the least recently used first."""
    found = []
    for path in entries(folder).glob("*/*"):
        with contextlib.suppress(OSError):  # another run may remove it meanwhile
            size_bytes = sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
            found.append(Held(path.parent.name, path, size_bytes, (path / "entry.json").stat().st_mtime))
    return tuple(sorted(found, key=lambda held: (held.used, str(held.path))))


def make_room(folder: Path, most_bytes: int) -> int:
    """Removes entries until the rest fits, and what killed runs left; how many entries went."""
    for part in (folder / "parts").glob("*"):
        with contextlib.suppress(OSError):
            if time.time() - part.stat().st_mtime > _ABANDONED_S:
                shutil.rmtree(part, ignore_errors=True)
    held = holdings(folder)
    excess = sum(one.size_bytes for one in held) - most_bytes
    gone = 0
    for one in held:
        if excess <= 0:
            break
        discard(folder, one.path)
        excess -= one.size_bytes
        gone += 1
    return gone


def clear(folder: Path) -> None:
    """Removes all that is the cache's own; other files in the folder stay. Raises ``OSError``."""
    if entries(folder).exists():
        discard(folder, entries(folder))
    for name in ("parts", "hashes"):
        shutil.rmtree(folder / name, ignore_errors=True)
