"""Parts of a whole that several threads take, each the next that is left, and that are put together in order."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

DoneT = TypeVar("DoneT")


class Parts(Generic[DoneT]):
    """``add`` is told what was done with every part, in their order and never twice at once."""

    def __init__(self, parts: Sequence[range], add: Callable[[DoneT], None]) -> None:
        self._parts, self._add = parts, add
        self._lock = threading.Lock()
        self._taken = self._added = 0
        self._done: dict[int, DoneT] = {}
        self._failed: dict[int, Exception] = {}

    @property
    def left(self) -> int:
        """How many parts nobody has taken."""
        return len(self._parts) - self._taken

    @property
    def samples_left(self) -> int:
        """How many samples these hold."""
        return sum(map(len, self._parts[self._taken :]))

    def take(self, work: Callable[[range], DoneT], most: int | None = None) -> None:
        """Does ``work`` on one part after the other, on ``most`` parts at most, until none is left or one failed."""
        done = 0
        while done != most and (number := self._next()) is not None:
            done += 1
            try:
                self._put(number, work(self._parts[number]))
            except Exception as error:  # raised by ``check``, when the parts before it are done too
                self._failed[number] = error
            except BaseException:
                self._taken = len(self._parts)
                raise

    def check(self) -> None:
        """Raises what the first part that failed raised."""
        if self._failed:
            raise self._failed[min(self._failed)]

    def _next(self) -> int | None:
        with self._lock:
            if self._failed or self._taken == len(self._parts):
                return None
            self._taken += 1
            return self._taken - 1

    def _put(self, number: int, done: DoneT) -> None:
        with self._lock:
            self._done[number] = done
            while self._added in self._done:
                self._add(self._done.pop(self._added))
                self._added += 1
