"""Doubts of single medians -> each told once, with its places."""

from __future__ import annotations

import pytest
from html_report import REPORT, latency

from tflite_ptq.report.debug_beside import DebugBeside
from tflite_ptq.report.doubts import doubts
from tflite_ptq.report.html.page import render
from tflite_ptq.result import VariantResult

CPU, XNN = ("cpu", 1), ("xnnpack", 2)


def variant(name: str, warnings: dict[tuple[str, int], tuple[str, ...]]) -> VariantResult:
    timings = [
        latency(delegate, threads, 1000, None).model_copy(update={"warnings": told})
        for (delegate, threads), told in warnings.items()
    ]
    return VariantResult(name=name, scheme="int8", latency=tuple(timings))


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        ({}, []),
        ({"a": {CPU: (), XNN: ()}}, []),
        ({"a": {CPU: ("slow",)}}, [("a (cpu, 1 thread)", "slow")]),
        ({"a": {CPU: ("slow",), XNN: ("slow",)}}, [("all 2 medians", "slow")]),
        (
            {"a": {CPU: ("slow",)}, "b": {CPU: ("slow",)}, "c": {CPU: ("slow",)}, "d": {CPU: ()}},
            [("a, b and c (cpu, 1 thread)", "slow")],
        ),
        (
            {"a": {CPU: ("slow",), XNN: ("odd", "slow")}, "b": {CPU: ("slow",), XNN: ()}},
            [("all (cpu, 1 thread); a (xnnpack, 2 threads)", "slow"), ("a (xnnpack, 2 threads)", "odd")],
        ),
        # The same variants in both configurations.
        (
            {"a": {CPU: ("slow",), XNN: ("slow",)}, "b": {CPU: (), XNN: ()}},
            [("a (cpu, 1 thread; xnnpack, 2 threads)", "slow")],
        ),
        # Numbers differ, and in their own order: 9 is less than 12.
        (
            {"a": {CPU: ("in 12 of 20 runs, by 0.5",)}, "b": {CPU: ("in 9 of 20 runs, by 1.25",)}, "c": {CPU: ()}},
            [("a and b (cpu, 1 thread)", "in 9 to 12 of 20 runs, by 0.5 to 1.25")],
        ),
        # A range is told as it is.
        (
            {"a": {CPU: ("took 1 to 2 ms",)}, "b": {CPU: ("took 1 to 3 ms",)}},
            [("a (cpu, 1 thread)", "took 1 to 2 ms"), ("b (cpu, 1 thread)", "took 1 to 3 ms")],
        ),
        # A number within a word is a name's.
        (
            {"a": {CPU: ("lib2.so is old",)}, "b": {CPU: ("lib3.so is old",)}},
            [("a (cpu, 1 thread)", "lib2.so is old"), ("b (cpu, 1 thread)", "lib3.so is old")],
        ),
    ],
)
def test_doubts(told: dict[str, dict[tuple[str, int], tuple[str, ...]]], expected: list[tuple[str, str]]) -> None:
    found = doubts([variant(name, warnings) for name, warnings in told.items()])
    assert [(one.places, one.reason) for one in found] == expected


def test_the_page_tells_a_doubt_once() -> None:
    doubtful = tuple(variant(name, {CPU: ("a wide <spread>",)}) for name in ("a", "b"))
    source = render(REPORT.model_copy(update={"variants": doubtful}), DebugBeside())
    assert source.count("a wide &lt;spread&gt;") == 1
    assert "<b>all 2 medians</b>: a wide &lt;spread&gt;" in source
