"""SHA-256 of files and folders, to say which bytes were measured."""

from __future__ import annotations

import hashlib
from pathlib import Path


def sha256_of(path: Path) -> str:
    """Of a file's bytes; of a folder, its files' relative names and hashes in sorted order."""
    if path.is_dir():
        lines = [
            f"{file.relative_to(path).as_posix()} {sha256_of(file)}\n"
            for file in sorted(path.rglob("*"))
            if file.is_file()
        ]
        return hashlib.sha256("".join(lines).encode()).hexdigest()
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
