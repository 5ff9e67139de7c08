"""Intervals, tests, classes and regressions as a person reads them, and the bounds of what is shown."""

from __future__ import annotations

import io
import re

import pytest
from rich.cells import cell_len
from rich.console import Console
from test_report_render import REPORT, cells

from tflite_ptq.report import console, markdown, units
from tflite_ptq.report.class_tables import class_table
from tflite_ptq.result import Classes, ClassResult, Fidelity, Interval, Metric, Regression, VariantResult


def interval(low: float, high: float) -> Interval:
    return Interval(low=low, high=high)


def variant(name: str, metrics: dict[str, Metric], classes: Classes | None = None) -> VariantResult:
    audit = REPORT.variants[1].audit
    fidelity = None if name == "float32" else Fidelity(agreement=0.9978, sqnr_db=43.5, samples=450)
    return VariantResult(
        name=name, scheme=name, size_bytes=45_978, audit=audit, fidelity=fidelity, accuracy=metrics, classes=classes
    )


def classes(count: int, *, first_change: float | None, regressed: int | None = None) -> Classes:
    results = tuple(
        ClassResult(
            name=f"c|{i}", samples=10 + i, recall=0.5, change=None if first_change is None else first_change + i / 100
        )
        for i in range(count)
    )
    lost = tuple(
        Regression(sample=f"c/{i}.png", expected="c|0", predicted="c|1", margin=5.5 - i / 10)
        for i in range(min(regressed or 0, 24))
    )
    confusion = tuple(tuple(7 if i == j else 0 for j in range(count)) for i in range(count))
    return Classes(classes=results, confusion=confusion, regressed=regressed, mended=regressed and 3, regressions=lost)


TOP1 = Metric(value=0.9889, interval=interval(0.9743, 0.9953))
DROP = Metric(
    value=0.9722,
    change=-0.0167,
    interval=interval(0.9525, 0.9839),
    change_interval=interval(-0.0311, -0.0050),
    p_value=0.0078125,
    test="mcnemar",
)
RISE = DROP.model_copy(update={"value": 0.9911, "change": 0.0022, "p_value": 1.0})


def report(count: int = 3):  # type: ignore[no-untyped-def]
    variants = (
        variant("float32", {"top1": TOP1}, classes(count, first_change=None)),
        variant("dynamic", {"top1": RISE}),
        variant("int8", {"top1": DROP}, classes(count, first_change=-0.3, regressed=20)),
    )
    return REPORT.model_copy(update={"variants": variants, "gate": (), "errors": (), "status": "passed"})


def printed(width: int) -> str:
    file = io.StringIO()
    console.render(report(), Console(file=file, width=width), "out/ic")
    return file.getvalue()


def test_one_table_in_80_columns() -> None:
    lines = printed(80).splitlines()
    assert max(cell_len(line.rstrip()) for line in lines) <= 80
    (header,) = [line for line in lines if line.startswith("variant")]
    assert header.split() == ["variant", "size", "ratio", "integer", "top1", "change", "agrees", "SQNR"]
    (row,) = [line for line in lines if line.startswith("int8 ")]
    assert "97.22 % ±1.6" in row and "*-1.67 pt" in row
    assert " +0.22 pt" in next(line for line in lines if line.startswith("dynamic"))
    assert "±: half the 95 % interval; *: p < 0.05, paired on the same samples." in lines


@pytest.mark.parametrize(
    ("metric", "low", "high", "spread"),
    [
        ("top1", 0.9743, 0.9953, "±1.0"),
        ("top1(scores)", 0.98, 0.9808, "±0.04"),
        ("mae", 0.0123, 0.0135, "±0.0006"),
        ("rmse", 12.0, 15.0, "±1.5"),
    ],
)
def test_spread(metric: str, low: float, high: float, spread: str) -> None:
    assert units.metric_spread(metric, interval(low, high)) == spread


def test_probability() -> None:
    assert [units.probability(p) for p in (None, 0.0078125, 0.0001, 1.0)] == ["–", "0.0078", "< 0.001", "1"]


def test_markdown_holds_intervals_classes_and_regressions() -> None:
    text = markdown.render(report())
    assert "| int8 | top1 | 97.22 % | 95.25 % to 98.39 % | -1.67 pt | -3.11 pt to -0.50 pt | 0.0078 | mcnemar |" in text
    assert "| float32 | top1 | 98.89 % | 97.43 % to 99.53 % | – | – | – | – |" in text
    assert "| c\\|0 | 10 | 50.00 % | 50.00 % (-30.00 pt) |" in text
    assert text.count("| **c\\|1** | · | 7 | · |") == 1  # int8 confuses as float32 does: once is enough
    assert "Confusion of **float32**" in text and "Confusion of **int8**" not in text
    assert "- **int8**: 20 samples that float32 had right are wrong, 3 the reverse" in text
    assert "| `c/0.png` | c\\|0 | c\\|1 | 5.5 |" in text
    assert "c/11.png" in text and "c/12.png" not in text
    for block in text.split("\n\n"):
        lines = block.strip().splitlines()
        if lines and lines[0].startswith("|"):
            assert {cells(line) for line in lines} == {cells(lines[0])}, block


def test_many_classes_are_bounded_worst_first() -> None:
    text = markdown.render(report(30))
    assert "Confusion" not in text
    assert "10 more classes in report.json" in text
    shown = re.findall(r"^\| c\\\|(\d+) \|", text, re.MULTILINE)
    assert shown == [str(i) for i in range(20)]


def test_no_classes_no_section() -> None:
    assert class_table(REPORT.variants) is None
    text = markdown.render(REPORT)
    assert "## Classes" not in text and "## Regressions" not in text
    assert "| float32 | mae | 0.01234 | – | – | – | – | – |" in text
