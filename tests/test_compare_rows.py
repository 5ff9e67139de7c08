"""A comparison in words: what only one run has, and what is said where no limits are given."""

from __future__ import annotations

import io

from rich.console import Console
from test_compare import BASE, FLOAT32, INT8, compared

from tflite_ptq.report.compare import console, markdown, rows


def test_what_one_run_lacks_is_said_of_the_figure_or_of_the_whole_variant() -> None:
    changed = INT8.model_copy(update={"latency": INT8.latency and INT8.latency[:1], "fidelity": None})
    other = INT8.model_copy(update={"name": "int16x8"})
    baseline = BASE.model_copy(update={"variants": (FLOAT32, other, INT8)})
    found = rows.rows(compared(BASE.model_copy(update={"variants": (FLOAT32, changed)}), baseline=baseline))
    assert [row.figure for row in found if row.variant == "int16x8"] == [""]
    lacking = {(row.variant, row.figure): row.baseline for row in found if row.verdict == "only in the baseline"}
    assert lacking == {
        ("int16x8", ""): "",
        ("int8", "agrees"): "96.88 %",
        ("int8", "SQNR"): "30.0 dB",
        ("int8", "cpu, 1 thread"): "2.00 µs",
    }
    # A row's order is the runs' own: float32, int16x8, int8.
    assert list(dict.fromkeys(row.variant for row in found)) == ["float32", "int16x8", "int8"]


def test_without_limits_nothing_passed() -> None:
    found = compared(BASE)
    assert (rows.status(found), rows.headline(found)) == ("compared", "no limits given")
    file = io.StringIO()
    console.render(found, Console(file=file, width=80))
    assert file.getvalue().startswith("COMPARED no limits given\n")
    assert markdown.render(found).startswith("# ic against its baseline: compared\n\nNo limits given. ")
    held = compared(BASE, {"": 0.0})
    assert (rows.status(held), rows.headline(held)) == ("passed", "limits kept")
