"""Classes on the page: one scale and one order, whatever the variant, in plots and tables and in report.md."""

from __future__ import annotations

import re

import pytest
from html_report import REPORT

from tflite_ptq.report import markdown
from tflite_ptq.report.class_tables import class_order
from tflite_ptq.report.debug_beside import DebugBeside
from tflite_ptq.report.html.page import render
from tflite_ptq.report.html.plots import class_plots
from tflite_ptq.result import Classes, ClassResult, Report, VariantResult

NAMES = ("ant", "bee", "cow", "doe", "elk")


def variant(name: str, *changes: float | None) -> VariantResult:
    results = tuple(
        ClassResult(name=NAMES[i], samples=9, recall=0.5, change=change) for i, change in enumerate(changes)
    )
    return VariantResult(name=name, scheme="int8", classes=Classes(classes=results, confusion=()))


def report(*variants: VariantResult) -> Report:
    return REPORT.model_copy(update={"variants": variants})


# By hand: the worst falls are ant 0, bee -2, cow -1, doe 0, elk -2.
FLOAT32 = variant("float32", None, None, None, None)
A = variant("a", 0.03, -0.02, 0.0, 0.0)
B = variant("b", 0.0, 0.01, -0.01, 0.0, -0.02)
SAMPLE = report(FLOAT32, A, B)


@pytest.mark.parametrize(("most", "order"), [(5, "bee elk cow ant doe"), (3, "bee elk ant"), (1, "ant"), (0, "")])
def test_the_worst_fall_first_of_those_that_changed_most(most: int, order: str) -> None:
    assert [NAMES[place] for place in class_order(SAMPLE.variants, most)] == order.split()


def test_without_classes_no_order_and_no_plots() -> None:
    bare = report(VariantResult(name="int8", scheme="int8"))
    assert class_order(bare.variants, 9) == () and class_plots(bare) == ()


def test_plots_share_rows_and_scale() -> None:
    plots = class_plots(SAMPLE)
    assert [plot.heading for plot in plots] == ["a", "b"]  # float32 changes nothing
    rows = [[(row["label"], round(row["figure"], 9)) for row in plot.spec["data"]["values"]] for plot in plots]  # type: ignore[index]
    assert rows == [
        [("bee", -2.0), ("elk", 0.0), ("cow", 0.0), ("ant", 3.0)],
        [("bee", 1.0), ("elk", -2.0), ("cow", -1.0), ("ant", 0.0)],
    ]
    assert [plot.description for plot in plots] == [
        "bee -2.00 pt, ant +3.00 pt.",
        "bee +1.00 pt, elk -2.00 pt, cow -1.00 pt.",
    ]


def test_bars_of_one_length_are_one_change_in_every_plot() -> None:
    """Measured in the drawn SVG: a point is as wide in each plot."""
    source = render(SAMPLE, DebugBeside())
    drawn = re.findall(r'<title id="classes-\d+-title">.*?</svg>', source, re.DOTALL)
    widths = []
    for plot in drawn:
        bars = re.search(r'<g class="mark-rect role-mark layer_0_marks".*?</g>', plot, re.DOTALL)
        assert bars is not None
        widths.append([abs(float(x)) for x in re.findall(r'd="M[-\d.]+,[-\d.]+h([-\d.]+)v', bars[0])])
    assert len(widths) == 2
    point = widths[0][3] / 3
    assert widths[0] == pytest.approx([2 * point, 0, 0, 3 * point], abs=0.1)
    assert widths[1] == pytest.approx([1 * point, 2 * point, 1 * point, 0], abs=0.1)


def test_page_and_markdown_have_the_plots_order() -> None:
    source = render(SAMPLE, DebugBeside())
    tables = re.findall(r"<summary>\w+ by class</summary>(.*?)</table>", source, re.DOTALL)
    found = [re.findall(r'<th scope="row" class="name">(\w+)</th>', table) for table in tables]
    assert found == [["bee", "cow", "ant", "doe"]] * 2 + [["bee", "elk", "cow", "ant", "doe"]]
    assert re.findall(r"^\| ([a-z]{3}) \|", markdown.render(SAMPLE), re.MULTILINE) == [
        "bee",
        "elk",
        "cow",
        "ant",
        "doe",
    ]
