"""Parts taken by several threads: each once, put together in order, and the first fault told."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from tflite_ptq.quantize.calibration.parts import Parts


def tens(count: int) -> list[range]:
    return [range(10 * number, 10 * number + 10) for number in range(count)]


def by_two(parts: Parts[int], work: Callable[[range], int]) -> None:
    with ThreadPoolExecutor(2) as pool:
        for taking in [pool.submit(parts.take, work) for _ in range(2)]:
            taking.result(timeout=20)


def test_in_order_though_the_first_is_done_last() -> None:
    added: list[int] = []
    parts, others_done = Parts(tens(6), added.append), threading.Event()

    def work(part: range) -> int:
        if part.start == 0:
            assert others_done.wait(20)
        if part.start == 50:
            others_done.set()
        return part.start

    by_two(parts, work)
    parts.check()
    assert added == [0, 10, 20, 30, 40, 50]


def test_some_first() -> None:
    added: list[int] = []
    parts = Parts(tens(3), added.append)
    parts.take(len, 1)
    assert (added, parts.left, parts.samples_left) == ([10], 2, 20)
    parts.take(len)
    assert (added, parts.left, parts.samples_left) == ([10, 10, 10], 0, 0)


def test_the_first_fault_is_told_whichever_came_first() -> None:
    parts, later_failed = Parts(tens(50), lambda done: None), threading.Event()
    taken: list[int] = []

    def work(part: range) -> int:
        taken.append(part.start)
        if part.start == 10:
            later_failed.set()
        elif part.start == 0:
            assert later_failed.wait(20)
        raise ValueError(part.start)

    by_two(parts, work)
    assert taken == [0, 10]  # none is begun after a fault
    with pytest.raises(ValueError, match=r"^0$"):
        parts.check()


def test_nothing_is_begun_after_an_interrupt() -> None:
    def interrupted(part: range) -> int:
        raise KeyboardInterrupt

    parts = Parts(tens(5), lambda done: None)
    with pytest.raises(KeyboardInterrupt):
        parts.take(interrupted)
    assert parts.left == 0


def test_no_part() -> None:
    parts = Parts([], lambda done: None)
    parts.take(len)
    parts.check()
    assert (parts.left, parts.samples_left) == (0, 0)
