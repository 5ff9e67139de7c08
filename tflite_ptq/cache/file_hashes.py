"""SHA-256 of files, remembered by path, size, times and inode, as git does for its index.

Unlike the time of the last change of content (mtime), that of the last change of any kind (ctime) cannot be set by a
program, so a file that was edited and given its old time back is hashed again.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from pathlib import Path

from tflite_ptq import atomic
from tflite_ptq.errors import UserError
from tflite_ptq.fingerprint import sha256_of

_SETTLED_NS = 2_000_000_000
"""A file changed so shortly ago could change again within the same tick of the file system's clock."""


class FileHashes:
    """Hashes of the files of one dataset or model, remembered in the folder ``memory`` where that is given."""

    def __init__(self, memory: Path | None, subject: str) -> None:
        """``subject`` names what the files belong to (a path)."""
        name = hashlib.sha256(subject.encode("utf-8", "surrogateescape")).hexdigest()
        self._file = memory / f"{name}.json" if memory is not None else None
        self._known = _load(self._file) if self._file is not None else {}
        self._seen: dict[str, list[int | str]] = {}
        self._changed = False

    def of(self, path: Path) -> str:
        """The file's SHA-256, hexadecimal. Raises ``OSError`` where it cannot be read."""
        name = str(path)
        if name in self._seen:
            return str(self._seen[name][-1])
        found = path.stat()
        state = [found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino]
        known = self._known.get(name)
        if known is not None and known[:-1] == state:
            self._seen[name] = known
            return str(known[-1])
        digest = sha256_of(path)
        self._seen[name] = [*state, digest]
        self._changed = True
        return digest

    def save(self) -> None:
        """Remembers what was seen; nothing is lost but time where that is not possible."""
        if self._file is None or not self._changed:
            return
        now = time.time_ns()
        known = {**self._known, **self._seen}
        settled = {name: one for name, one in known.items() if now - max(map(int, one[1:3])) > _SETTLED_NS}
        body = json.dumps(settled).encode()
        try:
            atomic.write(self._file, hashlib.sha256(body).hexdigest().encode() + b"\n" + body)
        except UserError:
            return


def model_sha256(path: Path, memory: Path | None) -> str:
    """``sha256_of`` a model file, remembered; a folder (a SavedModel) is hashed each time. Raises ``OSError``."""
    if path.is_dir():
        return sha256_of(path)
    hashes = FileHashes(memory, os.fspath(path))
    digest = hashes.of(path)
    hashes.save()
    return digest


def _load(file: Path) -> dict[str, list[int | str]]:
    """What an earlier run remembered; nothing where the file is missing or damaged."""
    try:
        checksum, _, body = file.read_bytes().partition(b"\n")
        if hashlib.sha256(body).hexdigest().encode() != checksum:
            return {}
        loaded: dict[str, list[int | str]] = json.loads(body)
    except (OSError, ValueError):
        return {}
    return loaded
