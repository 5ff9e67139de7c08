"""Below a table only the marks that are in it are explained: on the console, in Markdown and on the page."""

from __future__ import annotations

import io

import pytest
from html_report import BARE
from rich.console import Console
from shown_figures import Page
from test_report_render import _latency

from tflite_ptq.report import console, markdown
from tflite_ptq.report.debug_beside import DebugBeside
from tflite_ptq.report.html.page import render
from tflite_ptq.report.legend import legend
from tflite_ptq.result import Fidelity, Interval, Metric, VariantResult

AROUND = Interval(low=0.5, high=1.5)
ABOVE = Interval(low=1.25, high=1.5)
BARE_TIMING = _latency("cpu", 1, 1000, 1.0).model_copy(update={"speedup": None})
STAR = "*: p < 0.05"
NEARLY = "≈: no difference shown"


def variant(**more: object) -> VariantResult:
    return VariantResult.model_validate({"name": "int8", "scheme": "int8", "size_bytes": 1000, **more})


def metric(**more: object) -> dict[str, Metric]:
    return {"top1": Metric.model_validate({"value": 0.5, **more})}


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ({}, ()),
        ({"accuracy": metric(change=0.1)}, ()),
        ({"accuracy": metric(interval=AROUND, p_value=0.05)}, ("±: half the 95 % interval.",)),
        ({"accuracy": metric(p_value=0.049)}, (f"{STAR}, paired on the same samples.",)),
        (
            {"accuracy": metric(interval=AROUND, p_value=0.0)},
            (f"±: half the 95 % interval; {STAR}, paired on the same samples.",),
        ),
        (
            {"fidelity": Fidelity(agreement=None, sqnr_db=None, exact=True, samples=1)},
            ("SQNR: output against float32's.",),
        ),
        (
            {"fidelity": Fidelity(agreement=1.0, sqnr_db=3.0, samples=1)},
            ("agrees: same top class as float32. SQNR: output against float32's.",),
        ),
        ({"latency": (BARE_TIMING,)}, ("Times: median of the processes' medians.",)),
        (
            {
                "latency": (
                    BARE_TIMING.model_copy(update={"precision": 0.1, "speedup": 2.0, "speedup_interval": ABOVE}),
                )
            },
            ("Times: median of the processes' medians, ±: half its 95 % interval; ×: times as fast as float32.",),
        ),
        (
            {"latency": (BARE_TIMING.model_copy(update={"speedup": 1.0, "speedup_interval": AROUND}),)},
            (
                "Times: median of the processes' medians; ×: times as fast as float32.",
                f"{NEARLY} (the speedup's 95 % interval covers 1).",
            ),
        ),
    ],
)
def test_only_what_is_shown_is_explained(more: dict[str, object], expected: tuple[str, ...]) -> None:
    one = variant(**more)
    assert legend([one]) == expected
    report = BARE.model_copy(update={"variants": (one,)})
    file = io.StringIO()
    console.render(report, Console(file=file, width=120), "out")
    page, written = Page(render(report, DebugBeside())).text, markdown.render(report).replace("\\", "")
    for sentence in expected:
        assert f"\n{sentence}\n" in file.getvalue() and f"\n{sentence}\n" in written
    for mark in (STAR, NEARLY):
        shown = any(mark in sentence for sentence in expected)
        assert [mark in text for text in (file.getvalue(), written, page)] == [shown] * 3


def test_markdown_says_what_ratio_change_and_dash_are_only_with_them() -> None:
    float32 = variant(name="float32")
    assert "Ratio: against float32 in the same run.\n" in markdown.render(
        BARE.model_copy(update={"variants": (float32,)})
    )
    changed = variant(accuracy=metric(change=0.1))
    text = markdown.render(BARE.model_copy(update={"variants": (float32, changed)}))
    assert "\nRatio and change: against float32 in the same run.\n–: not measured.\n" in text
    alone = markdown.render(BARE.model_copy(update={"variants": (changed,)}))
    assert "\nChange: against float32 in the same run.\n" in alone and "not measured" not in alone
