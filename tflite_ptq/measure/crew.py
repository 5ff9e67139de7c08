"""A job done by several workers at once: processes forked from this one where the system forks, else threads.

Small models infer in microseconds, and threads then spend more time handing each other Python's lock than working. A
forked process starts in milliseconds with all that is loaded, and shares nothing but the counters made for it.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.connection import Connection
from typing import TypeVar

T = TypeVar("T")

FORKS = sys.platform == "linux"
_ending: list[int] = []
"""Processes that have sent their result and are about to be gone."""


class Counter:
    """A number that all workers of a crew see and change."""

    def __init__(self, start: int) -> None:
        self._value = multiprocessing.get_context("fork" if FORKS else None).Value("q", start)

    @property
    def value(self) -> int:
        """The number now."""
        with self._value.get_lock():
            return int(self._value.value)

    def add(self, amount: int) -> int:
        """Adds ``amount``; the number before."""
        with self._value.get_lock():
            before = int(self._value.value)
            self._value.value = before + amount
            return before

    def lower(self, to: int) -> None:
        """Lowers the number to ``to`` where it is higher."""
        with self._value.get_lock():
            self._value.value = min(int(self._value.value), to)


def together(workers: int, job: Callable[[int], T]) -> list[T]:
    """``[job(0), job(1), ...]``, all at once; ``job(0)`` runs in this process. Results must be picklable.

    Raises what a job raised, the lowest worker's first. A worker that is killed by a signal takes this process with it,
    by the same signal, so that whoever watches sees what happened.
    """
    if workers == 1:
        return [job(0)]
    if not FORKS:
        with ThreadPoolExecutor(workers) as pool:
            return [done.result() for done in [pool.submit(job, number) for number in range(workers)]]
    _reap()
    forked = [_fork(job, number) for number in range(1, workers)]
    try:
        results: list[T | BaseException] = [_outcome(job, 0)]
    finally:
        results_of_others = [_collect(process, pipe) for process, pipe in forked]
    results += results_of_others  # type: ignore[arg-type]
    for result in results:
        if isinstance(result, BaseException):
            raise result
    return [result for result in results if not isinstance(result, BaseException)]


def _fork(job: Callable[[int], T], number: int) -> tuple[int, Connection]:
    reading, writing = multiprocessing.Pipe(duplex=False)
    with warnings.catch_warnings():
        # Python warns of threads at a fork since 3.12; the child runs only numpy and an interpreter of its own.
        warnings.simplefilter("ignore", DeprecationWarning)
        process = os.fork()
    if process:
        writing.close()
        return process, reading
    reading.close()
    try:
        writing.send(_outcome(job, number))
    finally:
        os._exit(0)  # the parent's exit handlers and buffers are the parent's


def _outcome(job: Callable[[int], T], number: int) -> T | BaseException:
    try:
        return job(number)
    except Exception as error:  # passed on as it is, and raised by ``together``
        return error


def _collect(process: int, pipe: Connection) -> object:
    with pipe:
        try:
            outcome: object = pipe.recv()
        except (EOFError, OSError):  # it ended before, or amid, its result
            _, status = os.waitpid(process, 0)
            os.kill(os.getpid(), os.WTERMSIG(status) if os.WIFSIGNALED(status) else signal.SIGKILL)
            raise
    _ending.append(process)
    return outcome


def _reap() -> None:
    """Lets go of workers that have ended. Nobody waits for it: the system takes milliseconds to take one down."""
    _ending[:] = [process for process in _ending if os.waitpid(process, os.WNOHANG) == (0, 0)]
