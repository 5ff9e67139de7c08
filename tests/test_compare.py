"""Two runs side by side: hand-made reports -> figures, verdicts, limits, warnings and refusals."""

from __future__ import annotations

import io
import json
import math
import re

import pytest
from rich.cells import cell_len
from rich.console import Console
from test_report_render import REPORT, _latency

from tflite_ptq.errors import UsageError
from tflite_ptq.report.compare import console, intervals, markdown
from tflite_ptq.report.compare.compare import compare
from tflite_ptq.report.compare.limits import Limits
from tflite_ptq.report.compare.result import Comparison, Figure
from tflite_ptq.result import Audit, Fidelity, Interval, Latency, Metric, Report, VariantResult

ENVIRONMENT = REPORT.environment
Changes = dict[str, object]


def timing(median_ns: int, half_width: float | None = None, delegate: str = "xnnpack", threads: int = 1) -> Latency:
    interval = half_width and Interval(low=median_ns / half_width, high=median_ns * half_width)
    made = _latency(delegate, threads, median_ns, 1.0)
    return made.model_copy(update={"speedup": None, "median_interval_ns": interval or None})


def audit(fully_integer: bool) -> Audit:
    return Audit(fully_integer=fully_integer, input_dtypes={}, output_dtypes={}, float_ops=(), ops={})


FLOAT32 = VariantResult(
    name="float32",
    scheme="float32",
    sha256="aa" * 32,
    size_bytes=1000,
    accuracy={"top1": Metric(value=0.75), "mae": Metric(higher_is_better=False, value=0.5)},
    latency=(timing(4000),),
)
INT8 = VariantResult(
    name="int8",
    scheme="int8",
    sha256="bb" * 32,
    size_bytes=400,
    audit=audit(True),
    accuracy={"top1": Metric(value=0.75, change=0.0), "mae": Metric(higher_is_better=False, value=0.5, change=0.0)},
    fidelity=Fidelity(agreement=0.96875, sqnr_db=30.0, samples=100),
    latency=(timing(1000, 1.02), timing(2000, delegate="cpu")),
)
BASE = REPORT.model_copy(update={"variants": (FLOAT32, INT8), "gate": (), "errors": (), "status": "passed"})


def with_int8(**changes: object) -> Report:
    return BASE.model_copy(update={"variants": (FLOAT32, INT8.model_copy(update=changes))})


def with_environment(**changes: object) -> Report:
    return BASE.model_copy(update={"environment": ENVIRONMENT.model_copy(update=changes)})


def compared(
    candidate: Report,
    drops: dict[str, float] | None = None,
    size: float | None = None,
    slowdown: float | None = None,
    baseline: Report = BASE,
    only: tuple[str, ...] = (),
    allow: bool = False,
) -> Comparison:
    limits = Limits(drops or {}, size, slowdown)
    return compare(("old", baseline), ("new", candidate), limits, only=only, allow_other_machine=allow)


def figure(found: Comparison, name: str, kind: str | None = None) -> Figure:
    (one,) = [x for x in found.figures if (x.variant, x.name) == ("int8", name) and kind in (None, x.kind)]
    return one


def test_a_run_beside_itself() -> None:
    found = compared(BASE, {"": 0.0, "mae": 0.0}, 1.0, 1.0)
    assert (found.status, found.differences, found.warnings) == ("passed", (), ())
    assert (found.missing, found.new, found.identical) == ((), (), ("float32", "int8"))
    assert [check.check for check in found.limits] == [
        "accuracy.top1.max_drop",
        "accuracy.mae.max_drop",
        "size.max_ratio",
        "latency.max_slowdown[xnnpack,1]",
        "latency.max_slowdown[cpu,1]",
    ]
    assert {check.variant for check in found.limits} == {"int8"}
    assert {one.verdict for one in found.figures} == {"same", None}


@pytest.mark.parametrize(
    ("changes", "name", "change", "ratio", "verdict"),
    [
        ({"size_bytes": 500}, "size_bytes", None, 1.25, "worse"),
        ({"size_bytes": 300}, "size_bytes", None, 0.75, "better"),
        ({"accuracy": {"top1": Metric(value=0.875)}}, "top1", 0.125, None, None),
        ({"accuracy": {"top1": Metric(value=0.625)}}, "top1", -0.125, None, None),
        ({"accuracy": {"mae": Metric(higher_is_better=False, value=0.75)}}, "mae", 0.25, None, None),
        ({"accuracy": {"mae": Metric(higher_is_better=False, value=0.25)}}, "mae", -0.25, None, None),
        ({"fidelity": Fidelity(agreement=0.9375, sqnr_db=31, samples=9)}, "agreement", -0.03125, None, None),
        ({"fidelity": Fidelity(agreement=0.5, sqnr_db=31.5, samples=9)}, "sqnr_db", 1.5, None, None),
        ({"latency": (timing(1500, 1.02),)}, "median_ns[xnnpack,1]", None, 1.5, "worse"),
        ({"latency": (timing(500, 1.02),)}, "median_ns[xnnpack,1]", None, 0.5, "better"),
        # 1 % apart, known to 2 % each; and without an interval nobody can tell
        ({"latency": (timing(1010, 1.02),)}, "median_ns[xnnpack,1]", None, 1.01, "unclear"),
        ({"latency": (timing(1500),)}, "median_ns[xnnpack,1]", None, 1.5, None),
        # gone in the candidate, new in the candidate
        ({"latency": None}, "median_ns[xnnpack,1]", None, None, None),
        ({"latency": (timing(1000, threads=2),)}, "median_ns[xnnpack,2]", None, None, None),
        # a report that was edited
        ({"size_bytes": 0}, "size_bytes", None, 0.0, "better"),
    ],
)
def test_figure(changes: Changes, name: str, change: float | None, ratio: float | None, verdict: str | None) -> None:
    found = figure(compared(with_int8(**changes)), name)
    assert (found.change, found.ratio, found.verdict) == (change, ratio, verdict)


def test_a_baseline_of_size_0_has_no_ratio() -> None:
    found = figure(compared(BASE, baseline=with_int8(size_bytes=0)), "size_bytes")
    assert (found.baseline, found.ratio, found.verdict) == (0, None, None)


def interval(low: float, high: float, confidence: float = 0.95) -> Interval:
    return Interval(low=low, high=high, confidence=confidence)


def test_interval_of_a_difference_by_hand() -> None:
    # Equal tails: half-widths add in squares, 3-4-5.
    found = intervals.of_difference(0.5, interval(0.47, 0.53), 0.6, interval(0.56, 0.64))
    assert found is not None and (found.low, found.high) == (pytest.approx(0.05), pytest.approx(0.15))
    # Unequal tails: downwards b's lower and a's upper one (3-4-5), upwards b's upper and a's lower one (5-12-13).
    found = intervals.of_difference(10, interval(5, 14), 20, interval(17, 32))
    assert found is not None and (found.low, found.high) == (pytest.approx(10 - 5), pytest.approx(10 + 13))
    # A figure that is known exactly adds nothing.
    found = intervals.of_difference(1, interval(1, 1), 3, interval(2, 5))
    assert found is not None and (found.low, found.high) == (1, 4)


def test_interval_of_a_ratio_by_hand() -> None:
    found = intervals.of_ratio(100, interval(80, 125), 200, interval(100, 400))
    width = math.exp(math.hypot(math.log(1.25), math.log(2)))
    assert found is not None and (found.low, found.high) == (pytest.approx(2 / width), pytest.approx(2 * width))


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [(None, interval(1, 2)), (interval(1, 2), None), (interval(1, 2, 0.9), interval(1, 2)), (interval(0, 2),) * 2],
)
def test_no_interval_without_two_alike(ours: Interval | None, theirs: Interval | None) -> None:
    assert intervals.of_ratio(1.5, ours, 1.5, theirs) is None


def measured(value: float, change: float, half: float) -> dict[str, Metric]:
    around = {
        "interval": interval(value - half, value + half),
        "change_interval": interval(change - half / 10, change + half / 10),
    }
    return {"top1": Metric(value=value, change=change).model_copy(update=around)}


def test_accuracy_with_intervals_and_the_paired_change() -> None:
    ours, theirs = with_int8(accuracy=measured(0.75, 0.0, 0.03)), with_int8(accuracy=measured(0.74, -0.01, 0.04))
    found = compared(theirs, baseline=ours)
    value, paired = figure(found, "top1", "accuracy"), figure(found, "top1", "accuracy-change")
    assert value.interval is not None and value.verdict == "unclear"
    assert (value.interval.low, value.interval.high) == (pytest.approx(-0.06), pytest.approx(0.04))
    # The paired intervals are ten times narrower: +-0.005 about -0.01.
    assert paired.interval is not None and paired.verdict == "worse"
    assert (paired.interval.low, paired.interval.high) == (pytest.approx(-0.015), pytest.approx(-0.005))


def test_the_change_against_float32_is_shown_where_float32_is_another() -> None:
    better = FLOAT32.model_copy(update={"accuracy": {"top1": Metric(value=0.875)}})
    kept = INT8.model_copy(update={"accuracy": {"top1": Metric(value=0.75, change=-0.125)}})
    found = compared(BASE.model_copy(update={"variants": (better, kept)}))
    assert figure(found, "top1", "accuracy").verdict == "same"
    assert figure(found, "top1", "accuracy-change").change == -0.125
    assert [one for one in compared(BASE).figures if one.kind == "accuracy-change"] == []


@pytest.mark.parametrize(
    ("changes", "limits", "check", "figure_measured", "passed"),
    [
        ({"accuracy": {"top1": Metric(value=0.74)}}, {"drops": {"": 0.01}}, "accuracy.top1.max_drop", 0.01, True),
        ({"accuracy": {"top1": Metric(value=0.74)}}, {"drops": {"": 0.0099}}, "accuracy.top1.max_drop", 0.01, False),
        (
            {"accuracy": {"mae": Metric(higher_is_better=False, value=0.75)}},
            {"drops": {"mae": 0.2}},
            "accuracy.mae.max_drop",
            0.25,
            False,
        ),
        (
            {"accuracy": {"mae": Metric(higher_is_better=False, value=0.25)}},
            {"drops": {"mae": 0.0}},
            "accuracy.mae.max_drop",
            -0.25,
            True,
        ),
        ({"accuracy": None}, {"drops": {"": 1.0}}, "accuracy.top1.max_drop", None, False),
        ({"size_bytes": 408}, {"size": 1.02}, "size.max_ratio", 1.02, True),
        ({"size_bytes": 409}, {"size": 1.02}, "size.max_ratio", 1.0225, False),
        ({"size_bytes": None}, {"size": 9.0}, "size.max_ratio", None, False),
        ({"latency": (timing(1100, 1.01),)}, {"slowdown": 1.1}, "latency.max_slowdown[xnnpack,1]", 1.1, True),
        ({"latency": (timing(1101, 1.01),)}, {"slowdown": 1.1}, "latency.max_slowdown[xnnpack,1]", 1.101, False),
        ({"latency": (timing(1101, 1.01),)}, {"slowdown": 9.0}, "latency.max_slowdown[cpu,1]", None, False),
    ],
)
def test_limit(
    changes: Changes, limits: dict[str, object], check: str, figure_measured: float | None, passed: bool
) -> None:
    found = compared(with_int8(**changes), **limits)  # type: ignore[arg-type]
    (one,) = [one for one in found.limits if one.check == check]
    assert one.measured == (None if figure_measured is None else pytest.approx(figure_measured))
    assert one.passed is passed
    assert found.status == ("passed" if all(check.passed for check in found.limits) else "failed")


def test_a_missing_variant_breaks_its_limits_and_a_new_one_has_none() -> None:
    other = INT8.model_copy(update={"name": "int16x8"})
    found = compared(BASE.model_copy(update={"variants": (FLOAT32, other)}), {"": 1.0}, 9.0)
    assert (found.missing, found.new, found.status) == (("int8",), ("int16x8",), "failed")
    assert {(check.variant, check.measured, check.passed) for check in found.limits} == {("int8", None, False)}
    only = compared(BASE.model_copy(update={"variants": (FLOAT32,)}), size=9.0, only=("float32",))
    assert [(check.variant, check.measured) for check in only.limits] == [("float32", 1.0)]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"cpu": "EPYC"}, "CPU: Xeon | 2 and EPYC"),
        ({"cores": 64}, "cores: 2 and 64"),
        ({"machine": "aarch64"}, "architecture: x86_64 and aarch64"),
        ({"platform": "macOS"}, "platform: Linux_x* and macOS"),
        ({"ai_edge_litert": None}, "LiteRT: 2.3.0 and unknown"),
        ({"cores": 64, "ai_edge_litert": "2.4.0"}, "cores: 2 and 64; LiteRT: 2.3.0 and 2.4.0"),
    ],
)
def test_latencies_of_different_machines(changes: Changes, said: str) -> None:
    other = with_environment(**changes)
    left_out = compared(other, {"": 0.0}, 1.0)
    assert left_out.status == "passed"
    assert [one for one in left_out.figures if one.kind == "latency"] == []
    assert left_out.warnings == (
        f"latencies are left out: the runs are of different machines ({said}); --allow-other-machine compares them "
        "all the same",
    )
    with pytest.raises(UsageError) as refused:
        compared(other, slowdown=1.1)
    assert str(refused.value) == (
        f"--max-slowdown 1.1: the runs are of different machines ({said}); measure the baseline again on this one, "
        "or compare all the same with --allow-other-machine"
    )
    allowed = compared(other, slowdown=1.1, allow=True)
    assert len(allowed.limits) == 2
    assert allowed.warnings == (
        f"the runs are of different machines ({said}): a change of latency may be the machine's",
    )


def test_other_versions_are_no_other_machine() -> None:
    found = compared(with_environment(tensorflow="2.22.0", numpy="3"), slowdown=1.0)
    assert [(one.what, one.baseline, one.candidate) for one in found.differences] == [
        ("TensorFlow", "2.21.0", "2.22.0"),
        ("NumPy", None, "3"),
    ]


def test_recipe_model_and_samples_that_differ_are_said() -> None:
    assert BASE.model is not None and BASE.dataset is not None
    other = BASE.model_copy(
        update={
            "recipe": BASE.recipe.model_copy(update={"sha256": "12" * 32, "overrides": ("a=1", "b=2")}),
            "model": BASE.model.model_copy(update={"sha256": "34" * 32}),
            "dataset": BASE.dataset.model_copy(update={"evaluation_samples": 150, "skipped": ()}),
            "status": "error",
        }
    )
    found = compared(other)
    assert [(one.what, one.baseline, one.candidate) for one in found.differences] == [
        ("recipe (sha256)", "ab" * 32, "12" * 32),
        ("--set", "gate.int8.size.max_ratio=0.3", "a=1; b=2"),
        ("model (sha256)", "cd" * 32, "34" * 32),
        ("evaluation samples", "200", "150"),
        ("skipped samples", "7", "0"),
    ]
    assert found.warnings == (
        "accuracy and fidelity are of different samples: 200 in the baseline, 150 now",
        "the candidate's run met an error: what it lacks was not measured",
    )


@pytest.mark.parametrize(("now", "warned"), [("12" * 32, True), ("ab" * 32, False), (None, False)])
def test_as_many_other_samples_are_said(now: str | None, warned: bool) -> None:
    assert BASE.dataset is not None
    runs = [
        BASE.model_copy(update={"dataset": BASE.dataset.model_copy(update={"evaluation_sha256": sha256})})
        for sha256 in ("ab" * 32, now)
    ]
    told = "accuracy and fidelity are of different samples: as many, but not the same names, labels and bytes"
    assert (told in compared(runs[1], baseline=runs[0]).warnings) is warned


@pytest.mark.parametrize(
    ("changes", "warning"),
    [
        ({"audit": audit(False)}, "int8: was fully integer in the baseline and is not now"),
        ({"error": "no kernel"}, "int8: no kernel"),
        (
            {"fidelity": Fidelity(agreement=1.0, sqnr_db=None, exact=True, samples=9)},
            "int8: every output is identical to float32's in the candidate only",
        ),
    ],
)
def test_warning(changes: Changes, warning: str) -> None:
    assert compared(with_int8(**changes)).warnings == (warning,)


@pytest.mark.parametrize(
    ("limits", "said"),
    [
        (
            {"drops": {"top5": 0.01}},
            "--max-drop top5=0.01: the baseline has no such figure to hold the limit against (measured: top1, mae); ",
        ),
        (
            {"drops": {"": 0.01}, "only": ("float32",), "baseline": BASE.model_copy(update={"variants": (INT8,)})},
            "--max-drop 0.01: the baseline has no such figure to hold the limit against (no accuracy was measured); ",
        ),
        (
            {"slowdown": 1.5, "baseline": with_int8(latency=None)},
            "--max-slowdown 1.5: the baseline has no latency to hold the limit against; ",
        ),
        (
            {"size": 1.5, "baseline": with_int8(size_bytes=None)},
            "--max-size-ratio 1.5: the baseline has no size to hold the limit against; float32, the yardstick, is held "
            "to no limit unless --only names it",
        ),
        ({"only": ("int9",)}, "--only int9: neither run has such a variant (float32, int8)"),
    ],
)
def test_refused(limits: dict[str, object], said: str) -> None:
    with pytest.raises(UsageError) as refused:
        compared(BASE, **limits)  # type: ignore[arg-type]
    assert str(refused.value).startswith(said)


def busy() -> Comparison:
    """Something in every part of the comparison."""
    more = INT8.model_copy(update={"name": "int16x8"})
    worse = INT8.model_copy(
        update={
            "sha256": "cc" * 32,
            "size_bytes": 500,
            "latency": (timing(1500, 1.02),),
            "accuracy": measured(0.7, -0.05, 0.04),
        }
    )
    ours = with_int8(accuracy=measured(0.75, 0.0, 0.03))
    theirs = with_environment(numpy="3").model_copy(update={"variants": (FLOAT32, worse, more)})
    return compared(theirs, {"": 0.01}, 1.02, 1.1, baseline=ours)


@pytest.mark.parametrize("width", [60, 80, 120, 250])
def test_console_cuts_no_figure(width: int) -> None:
    file = io.StringIO()
    console.render(busy(), Console(file=file, width=width, highlight=False))
    text = file.getvalue()
    assert text.startswith("FAILED 4 of 4 limits broken\nBaseline  old: ic, passed\nCandidate new: ic, passed\n")
    assert max(cell_len(line.rstrip()) for line in text.splitlines()) <= width
    for shown in ("400 B", "500 B", "1.250×", "75.00 %", "70.00 %", "-5.00 pt", "1.00 µs", "1.50 µs", "1.500×"):
        assert shown in text, shown
    assert "…" not in text


def test_console_says_what_differs_and_what_is_new() -> None:
    file = io.StringIO()
    console.render(busy(), Console(file=file, width=200, highlight=False))
    text = "\n".join(line.rstrip() for line in file.getvalue().splitlines())
    assert re.search(r"^NumPy +– +3$", text, re.MULTILINE)
    assert re.search(r"^FAIL +int8 +latency\.max_slowdown\[xnnpack,1\] +at most 1\.100× +1\.500×$", text, re.MULTILINE)
    assert re.search(
        r"^ +xnnpack, 1 thread +1\.00 µs +1\.50 µs +1\.500× +1\.459× to 1\.543× +worse", text, re.MULTILINE
    )
    assert re.search(
        r"^ +top1 +75\.00 % +70\.00 % +-5\.00 pt +-10\.00 pt to \+0\.00 pt +no difference shown", text, re.M
    )
    assert re.search(r"^int16x8 +only in the candidate$", text, re.MULTILINE)
    assert text.count("int16x8") == text.count("only in the candidate") == 1, "one row for what has nothing beside it"
    assert text.endswith(" - float32: the same file, byte for byte")


def test_markdown_tables_are_regular_and_hold_the_figures() -> None:
    text = markdown.render(busy())
    assert text.startswith(
        "# ic against its baseline: failed\n\n4 of 4 limits broken. Baseline `old`, candidate `new`."
    )
    tables = [block.strip().splitlines() for block in text.split("\n\n") if block.strip().startswith("|")]
    assert len(tables) == 3
    for lines in tables:
        assert len({len(re.findall(r"(?<!\\)\|", line)) for line in lines}) == 1, lines
    assert "| int8 | size | 400 B | 500 B | 1.250× |  | **worse** |" in text
    assert "| int8 | `size.max_ratio` | at most 1.020 | 1.250 | **FAIL** |" in text
    assert "| int16x8 |  |  |  |  |  | only in the candidate |\n" in text


def test_json_is_versioned_and_without_a_placeholder_number() -> None:
    data = json.loads(compared(with_int8(latency=None)).model_dump_json())
    assert data["format"] == "tflite-ptq-comparison/1"
    (gone,) = [one for one in data["figures"] if one["name"] == "median_ns[xnnpack,1]" and one["variant"] == "int8"]
    assert (gone["baseline"], gone["candidate"], gone["ratio"]) == (1000, None, None)
