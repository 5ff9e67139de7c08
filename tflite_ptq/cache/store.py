"""Entries on disk: a folder each, which appears whole or not at all and carries the hash of every file in it.

    <cache>/entries/<kind>/<digest>/entry.json     what the entry holds, with hashes
                                    answer.json    what the step found
                                    ...            the files it made
    <cache>/parts/                                 entries that are being written or removed
    <cache>/hashes/                                see ``file_hashes``

An entry is written among the parts and then renamed, so two runs need no locks: both make the same entry, and the one
that comes second drops its own. Nothing is flushed to the disk on purpose: what a power cut leaves half written has
the wrong hash.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Literal, TypeVar

from pydantic import ValidationError

from tflite_ptq import atomic
from tflite_ptq.cache.key import Key
from tflite_ptq.fingerprint import sha256_of
from tflite_ptq.result import Frozen

AnswerT = TypeVar("AnswerT", bound=Frozen)

_CONTENTS, _ANSWER = "entry.json", "answer.json"
_BLOCK_BYTES = 1 << 20


class Damaged(Exception):
    """An entry is not what it was when it was written; ``str(error)`` says how."""


class _File(Frozen):
    sha256: str
    size_bytes: int


class _Contents(Frozen):
    format: Literal["tflite-ptq-cache/1"] = "tflite-ptq-cache/1"
    kind: str
    digest: str
    files: dict[str, _File]


class Store:
    """The entries below a folder, which is made when the first one is kept."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def path(self, key: Key) -> Path:
        """Where the entry is, or would be."""
        return entries(self._folder) / key.kind / key.digest

    def has(self, key: Key) -> bool:
        """Whether there is an entry; it may be damaged."""
        return (self.path(key) / _CONTENTS).is_file()

    def look(self, key: Key, answer: type[AnswerT], files: Mapping[str, Path]) -> AnswerT | None:
        """The step's answer; of ``files``, name to target, those that the entry holds are put in their places.

        ``None`` where there is no entry. Raises ``Damaged``, and ``UserError`` where a target cannot be written.
        """
        folder = self.path(key)
        try:
            contents = _contents(folder, key)
            found = _answer(folder, contents, answer)
            for name, target in files.items():
                _put(folder, contents, name, target)
        except Damaged:
            if not folder.exists():  # never there, or another run took it away just now
                return None
            raise
        with contextlib.suppress(OSError):  # a cache may be read-only
            os.utime(folder / _CONTENTS)  # the least recently used go first
        return found

    def keep(self, key: Key, answer: Frozen, files: Mapping[str, Path]) -> None:
        """Makes an entry of the answer and of those ``files`` (or folders), by name, that exist. Raises ``OSError``."""
        parts = self._folder / "parts"
        parts.mkdir(parents=True, exist_ok=True)
        part = Path(tempfile.mkdtemp(dir=parts))
        try:
            (part / _ANSWER).write_text(answer.model_dump_json(), encoding="utf-8")
            for name, source in files.items():
                if source.is_dir():
                    shutil.copytree(source, part / name)
                elif source.is_file():
                    shutil.copyfile(source, part / name)
            held = {
                file.relative_to(part).as_posix(): _File(sha256=sha256_of(file), size_bytes=file.stat().st_size)
                for file in sorted(part.rglob("*"))
                if file.is_file()
            }
            contents = _Contents(kind=key.kind, digest=key.digest, files=held)
            (part / _CONTENTS).write_text(contents.model_dump_json(), encoding="utf-8")
            place = self.path(key)
            place.parent.mkdir(parents=True, exist_ok=True)
            if not self.has(key):
                part.rename(place)
        except OSError:
            if not self.has(key):  # else another run was first
                raise
        finally:
            shutil.rmtree(part, ignore_errors=True)

    def remove(self, key: Key) -> None:
        """Takes an entry away at once, as others see it."""
        discard(self._folder, self.path(key))


def entries(folder: Path) -> Path:
    """Where a cache's entries are."""
    return folder / "entries"


def discard(folder: Path, entry: Path) -> None:
    """Removes something from the cache at ``folder``: renamed first, so that nobody meets the half of it."""
    parts = folder / "parts"
    parts.mkdir(parents=True, exist_ok=True)
    grave = Path(tempfile.mkdtemp(dir=parts))
    try:
        entry.rename(grave / entry.name)
    except FileNotFoundError:  # another run was first
        pass
    finally:
        shutil.rmtree(grave, ignore_errors=True)


def _contents(folder: Path, key: Key) -> _Contents:
    try:
        contents = _Contents.model_validate_json(_read(folder / _CONTENTS))
    except ValidationError as error:
        raise Damaged(f"{_CONTENTS} is truncated or was edited") from error
    if (contents.kind, contents.digest) != (key.kind, key.digest):
        raise Damaged(f"{_CONTENTS} is another entry's")
    for name in contents.files:
        if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts:
            raise Damaged(f"{_CONTENTS} names a file outside of the entry")
    return contents


def _answer(folder: Path, contents: _Contents, answer: type[AnswerT]) -> AnswerT:
    data = _read(folder / _ANSWER)
    known = contents.files.get(_ANSWER)
    if known is None or hashlib.sha256(data).hexdigest() != known.sha256:
        raise Damaged(f"{_ANSWER} is not as it was written")
    try:
        return answer.model_validate_json(data)
    except ValidationError as error:
        raise Damaged(f"{_ANSWER} is of another form") from error


def _put(folder: Path, contents: _Contents, name: str, target: Path) -> None:
    """A file, or a folder with all that is in it."""
    if name in contents.files:
        with atomic.staged(target) as part:
            _copy(folder / name, contents.files[name], part)
        return
    inside = {file: known for file, known in contents.files.items() if file.startswith(f"{name}/")}
    if not inside:
        return
    shutil.rmtree(target, ignore_errors=True)
    try:
        for file, known in inside.items():
            copy = target / file.removeprefix(f"{name}/")
            copy.parent.mkdir(parents=True, exist_ok=True)
            _copy(folder / file, known, copy)
    except OSError as error:
        raise atomic.write_error(target, error) from error
    except Damaged:
        shutil.rmtree(target, ignore_errors=True)
        raise


def _copy(source: Path, known: _File, target: Path) -> None:
    digest = hashlib.sha256()
    with target.open("wb") as writing:
        for block in _blocks(source):
            digest.update(block)
            writing.write(block)
    if digest.hexdigest() != known.sha256:
        raise Damaged(f"{source.name} is not as it was written")


def _blocks(file: Path) -> Iterator[bytes]:
    try:
        with file.open("rb") as reading:
            while block := reading.read(_BLOCK_BYTES):
                yield block
    except OSError as error:
        raise Damaged(f"{file.name} cannot be read ({error.strerror})") from error


def _read(file: Path) -> bytes:
    return b"".join(_blocks(file))
