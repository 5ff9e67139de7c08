"""What one run asks of the cache. Trouble with the cache costs a warning, never the run."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

from tflite_ptq.cache.key import Key
from tflite_ptq.cache.place import Place
from tflite_ptq.cache.store import Damaged, Store
from tflite_ptq.cache.upkeep import make_room
from tflite_ptq.result import Frozen

AnswerT = TypeVar("AnswerT", bound=Frozen)


class Cache:
    """Looks, and keeps. Without a place, and under the key ``None``, nothing is found and nothing kept."""

    def __init__(self, place: Place | None, found: Callable[[str], None], warn: Callable[[str], None]) -> None:
        """``found`` is told which step's result came from the cache, ``warn`` what was wrong with the cache."""
        self._place = place
        self._store = Store(place.folder) if place is not None else None
        self._found, self._warn = found, warn
        self._kept = False
        self._broken = False
        self.missed = False
        """Whether something was looked for in vain."""

    @property
    def hashes(self) -> Path | None:
        """The folder where hashes of files are remembered."""
        return self._place.folder / "hashes" if self._place is not None else None

    def has(self, key: Key) -> bool:
        """Whether there is an entry that has still to be read."""
        return self._store is not None and any(self._store.has(one) for one in _both(key))

    def look(
        self, key: Key | None, answer: type[AnswerT], what: str, files: Mapping[str, Path] | None = None
    ) -> AnswerT | None:
        """What an earlier run found under ``key``, its ``files`` put in their places; ``what`` is the step, in words.

        A damaged entry is removed, told of, and as good as none. Raises ``UserError`` where a target cannot be written.
        """
        found = self._look(key, answer, what, files or {})
        if found is None:
            self.missed = True
        else:
            self._found(what)
        return found

    def keep(self, key: Key | None, answer: Frozen, files: Mapping[str, Path] | None = None) -> None:
        """Keeps a step's answer and the files that it made."""
        if self._store is None or key is None or self._broken:
            return
        one = key.placed if key.named_in(answer.model_dump_json()) else key
        try:
            self._store.keep(one, answer, files or {})
            self._kept = True
        except OSError as error:
            self._gives_up(error)

    def through(
        self,
        key: Key | None,
        answer: type[AnswerT],
        what: str,
        do: Callable[[], AnswerT],
        files: Mapping[str, Path] | None = None,
    ) -> AnswerT:
        """``look``, else ``do`` and ``keep``."""
        found = self.look(key, answer, what, files)
        if found is None:
            found = do()
            self.keep(key, found, files)
        return found

    def close(self) -> None:
        """Keeps the cache within its size."""
        if self._place is None or not self._kept:
            return
        try:
            make_room(self._place.folder, self._place.most_bytes)
        except OSError as error:
            self._gives_up(error)

    def _look(self, key: Key | None, answer: type[AnswerT], what: str, files: Mapping[str, Path]) -> AnswerT | None:
        if self._store is None or key is None:
            return None
        for one in _both(key):
            try:
                found = self._store.look(one, answer, files)
            except Damaged as error:
                self._warn(f"cache: the entry of {what} was damaged ({error}): it was removed and the step done again")
                self._discard(one)
                continue
            if found is not None:
                return found
        return None

    def _discard(self, key: Key) -> None:
        assert self._store is not None
        try:
            self._store.remove(key)
        except OSError as error:
            self._gives_up(error)

    def _gives_up(self, error: OSError) -> None:
        if not self._broken:
            self._broken = True
            assert self._place is not None
            self._warn(
                f"cache: {self._place.folder} cannot be written ({error.strerror or error}), so nothing more was kept; "
                "name another folder with --cache-dir, or use --no-cache"
            )


def _both(key: Key) -> tuple[Key, ...]:
    return (key, key.placed) if key.places else (key,)
