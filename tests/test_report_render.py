"""What a person reads: console tables at several widths, Markdown. The sample holds gaps, errors,
long names, pipes and Unicode."""

from __future__ import annotations

import io
import re
from pathlib import Path

import pytest
from rich.cells import cell_len
from rich.console import Console

from tflite_ptq.report import comparison, console, files, markdown
from tflite_ptq.result import (
    Audit,
    DatasetInfo,
    Environment,
    Fidelity,
    GateCheck,
    Interval,
    Latency,
    Metric,
    ModelInfo,
    RecipeInfo,
    Report,
    SkippedSample,
    TensorInfo,
    VariantResult,
)

LONG_NAME = "int8-per-tensor-with-a-very-long-name-and-uint8-inputs"


def _latency(delegate: str, threads: int, median_ns: int, speedup: float) -> Latency:
    return Latency(
        delegate=delegate,
        threads=threads,
        runs=100,
        median_ns=median_ns,
        p90_ns=median_ns + 1000,
        p99_ns=median_ns + 2000,
        mean_ns=median_ns + 500,
        load_ns=3_000_000,
        first_ns=2_000_000,
        peak_memory_bytes=5 * 1024**2,
        delegated_ops=3 if delegate == "xnnpack" else None,
        total_ops=12,
        speedup=speedup,
    )


def _audit(fully_integer: bool, *float_ops: str) -> Audit:
    return Audit(
        fully_integer=fully_integer,
        input_dtypes={"in|put_1": "float32"},
        output_dtypes={"Identity": "float32"},
        float_ops=float_ops,
        ops={"CONV_2D": 9, "ADD": 3},
    )


_TENSOR = TensorInfo(name="in|put_1", shape=(1, 32, 32, 3), dtype="int8", scale=0.5, zero_point=-3)

REPORT = Report(
    recipe=RecipeInfo(name="ic", path="ic.yaml", sha256="ab" * 32, overrides=("gate.int8.size.max_ratio=0.3",)),
    environment=Environment(
        tool="0.1.0",
        python="3.11.9",
        platform="Linux_x*",
        machine="x86_64",
        cpu="Xeon | 2",
        cores=2,
        tensorflow="2.21.0",
        ai_edge_litert="2.3.0",
        numpy=None,
    ),
    model=ModelInfo(path="ic.h5", sha256="cd" * 32, format="keras2", inputs=(_TENSOR,), outputs=(_TENSOR,)),
    dataset=DatasetInfo(
        calibration_samples=100,
        evaluation_samples=200,
        calibration_left_out=7,
        labelled=True,
        skipped=tuple(SkippedSample(sample=f"cat/{i}.jpg", reason="truncated") for i in range(7)),
    ),
    variants=(
        VariantResult(
            name="float32",
            scheme="float32",
            file="float32.tflite",
            sha256="ef" * 32,
            size_bytes=311_296,
            audit=_audit(False, "CONV_2D (a|b)", "ADD (c)"),
            accuracy={"top1": Metric(value=0.8725), "mae": Metric(value=0.01234)},
            latency=(_latency("cpu", 1, 830_000, 1.0), _latency("xnnpack", 2, 260_000, 1.0)),
        ),
        VariantResult(
            name="int8",
            scheme="int8",
            file="int8.tflite",
            size_bytes=96_256,
            audit=_audit(True),
            accuracy={"top1": Metric(value=0.869, change=-0.0035), "mae": Metric(value=0.0133, change=0.00096)},
            fidelity=Fidelity(agreement=0.985, sqnr_db=31.26, samples=200),
            latency=(_latency("cpu", 1, 320_000, 2.59375), _latency("xnnpack", 2, 80_000, 3.25)),
            notes=("a note | with a pipe, [brackets] and <b>markup</b>",),
        ),
        VariantResult(
            name="量子化",
            scheme="float16",
            file="f16.tflite",
            size_bytes=2_500_000,
            fidelity=Fidelity(agreement=1.0, sqnr_db=None, exact=True, samples=200),
        ),
        VariantResult(
            name=LONG_NAME, scheme="int8", error="TFL_Foo has no integer kernel [strict]\nset float_fallback"
        ),
    ),
    gate=(
        GateCheck(variant="int8", check="accuracy.top1.max_drop", limit=0.01, measured=0.0035, passed=True),
        GateCheck(variant="int8", check="latency.min_speedup[xnnpack,2]", limit=4.0, measured=3.25, passed=False),
        GateCheck(variant=LONG_NAME, check="fully_integer", limit=True, measured=None, passed=False),
    ),
    status="error",
    errors=("the evaluation of 量子化 ran out of memory",),
    durations_s={"open": 4.25, "convert": 1.5},
)


def printed(width: int, report: Report = REPORT) -> str:
    file = io.StringIO()
    console.render(report, Console(file=file, width=width), "out/ic")
    return file.getvalue()


@pytest.mark.parametrize("width", [50, 80, 100, 140, 250])
def test_no_figure_is_cut_at_any_width(width: int) -> None:
    text = printed(width)
    assert max(cell_len(line.rstrip()) for line in text.splitlines()) <= width
    figures = ["304.0 KiB", "94.0 KiB", "2.38 MiB", "0.31×", "87.25 %", "86.90 %", "-0.35 pt", "0.01234", "+0.00096"]
    figures += ["98.50 %", "31.3 dB", "identical", "830 µs  1.00×", "320 µs  2.59×", "80.0 µs  3.25×"]
    assert [figure for figure in figures if figure not in text] == []
    assert "…" not in text
    assert "\x1b" not in text


def test_wide_terminal_gets_one_table_and_narrow_two() -> None:
    assert len(re.findall(r"^variant ", printed(180), re.MULTILINE)) == 1
    assert len(re.findall(r"^variant ", printed(120), re.MULTILINE)) == 2


def test_a_change_stays_beside_its_value() -> None:
    for width in range(60, 140, 5):
        for header in re.findall(r"^variant .*change.*$", printed(width), re.MULTILINE):
            assert re.search(r"(top1|mae) +change", header), (width, header)


def test_console_says_verdict_findings_and_files() -> None:
    text = printed(200)
    assert text.startswith("ERROR ic: 1 of 4 variants with errors, 2 of 3 gate limits broken\n")
    assert re.search(r"^FAIL +int8 +latency\.min_speedup\[xnnpack,2\] +at least 4\.00× +3\.25×$", text, re.MULTILINE)
    assert re.search(rf"^FAIL +{LONG_NAME} +fully_integer +yes +not measured$", text, re.MULTILINE)
    assert "int8: a note | with a pipe, [brackets] and <b>markup</b>" in text
    assert f"{LONG_NAME}: TFL_Foo has no integer kernel [strict]" in text
    assert "the evaluation of 量子化 ran out of memory" in text
    assert "Skipped samples (7)" in text and "and 2 more" in text
    assert text.rstrip().endswith(
        "float32.tflite, int8.tflite, f16.tflite, "
        + ", ".join(["latency.json", "report.json", *files.RENDERED, "manifest.json"])
    )


@pytest.mark.parametrize(
    ("update", "headline"),
    [
        ({"status": "passed", "gate": REPORT.gate[:1]}, "PASSED ic: gate kept"),
        ({"status": "passed", "gate": ()}, "PASSED ic: no gate in the recipe"),
        ({"status": "failed"}, "FAILED ic: 2 of 3 gate limits broken"),
        ({"status": "error", "gate": (), "variants": ()}, "ERROR ic: the run met an error"),
    ],
)
def test_headline(update: dict[str, object], headline: str) -> None:
    assert printed(100, REPORT.model_copy(update=update)).splitlines()[0] == headline


def test_bare_report_renders() -> None:
    bare = REPORT.model_copy(
        update={"variants": (), "gate": (), "model": None, "dataset": None, "errors": (), "durations_s": {}}
    )
    assert "variant" not in printed(80, bare).splitlines()[1]
    assert markdown.render(bare).startswith("# ic: error\n")


def test_benchmark_has_the_same_columns_without_a_yardstick() -> None:
    file = io.StringIO()
    rows = [VariantResult(name="a.tflite", scheme="?", size_bytes=2048), REPORT.variants[1]]
    comparison.render_benchmark(rows, Console(file=file, width=160))
    text = file.getvalue()
    assert re.search(r"^a\.tflite +2\.0 KiB +–", text, re.MULTILINE)
    assert "ratio" not in text
    assert "times as fast as the first file" in text


def cells(line: str) -> int:
    return len(re.findall(r"(?<!\\)\|", line))


def test_markdown_tables_are_regular() -> None:
    for block in markdown.render(REPORT).split("\n\n"):
        lines = block.strip().splitlines()
        if lines and lines[0].startswith("|"):
            assert re.fullmatch(r"\|( ---:? \|)+", lines[1]), block
            assert {cells(line) for line in lines} == {cells(lines[0])}, block


@pytest.mark.parametrize(
    "text",
    [
        "| int8 | 94.0 KiB | 0.31× | yes | 86.90 % | -0.35 pt |",
        "| int8 | `latency.min_speedup[xnnpack,2]` | at least 4.00× | 3.25× | **FAIL** |",
        "a note \\| with a pipe, \\[brackets\\] and \\<b\\>markup\\</b\\>",
        "TFL\\_Foo has no integer kernel \\[strict\\]<br>set float\\_fallback",
        "| float32 | `float32.tflite` | no | `in\\|put_1` float32 | `Identity` float32 | 2 of 12 |",
        "| int8 | `int8.tflite` | yes | `in\\|put_1` float32 | `Identity` float32 | 0 of 12 |",
        "| input | `in\\|put_1` int8 (1, 32, 32, 3), scale 0.5, zero point -3 |",
        "| int8 | xnnpack | 2 | 80.0 µs | – | 81.0 µs | 82.0 µs | 80.5 µs | 3.25× | – | 1 | 100 |",
        "| int8 | xnnpack | 2 | 2.00 ms | 3.00 ms | 5.00 MiB | – | 3 of 12 | – |",
        "- `cat/6.jpg`: truncated",
        "| NumPy | – |",
        "| open | 4.25 |",
        "`--set gate.int8.size.max_ratio=0.3`",
    ],
)
def test_markdown_holds(text: str) -> None:
    assert text in markdown.render(REPORT)


def _uncertain(low: float, high: float, **more: object) -> VariantResult:
    """An int8 variant, 1.01 times as fast, with an interval of the speedup from ``low`` to ``high``."""
    latency = _latency("xnnpack", 1, 99_000, 1.01).model_copy(
        update={
            "processes": 7,
            "median_interval_ns": Interval(low=98_000, high=101_000),
            "speedup_interval": Interval(low=low, high=high),
            "precision": 1.5 / 99,
            "arena_bytes": 2048,
            "left_ops": {"MEAN": 1, "SOFTMAX": 2},
            **more,
        }
    )
    return VariantResult(name="int8", scheme="int8", latency=(latency,))


@pytest.mark.parametrize(
    ("low", "high", "cell", "row", "legend"),
    [
        (0.98, 1.04, "99.0 µs ±1.5%  ≈1.01×", "| 1.01× | 0.98× to 1.04×, no difference shown | 7 |", True),
        (1.002, 1.04, "99.0 µs ±1.5%  1.01×", "| 1.01× | 1.00× to 1.04× | 7 |", False),
        (1.0, 1.04, "99.0 µs ±1.5%  ≈1.01×", "| 1.01× | 1.00× to 1.04×, no difference shown | 7 |", True),
    ],
)
def test_a_speedup_says_when_it_shows_nothing(low: float, high: float, cell: str, row: str, legend: bool) -> None:
    report = REPORT.model_copy(update={"variants": (_uncertain(low, high),)})
    text = printed(120, report)
    assert cell in text
    assert ("no difference shown" in text) is legend
    markdown_text = markdown.render(report)
    assert cell.replace("  ", " ") in markdown_text and row in markdown_text
    assert "| 99.0 µs | 98.0 µs to 101 µs |" in markdown_text
    assert "| 5.00 MiB | 2.0 KiB | 3 of 12 | MEAN 1, SOFTMAX 2 |" in markdown_text


def test_warnings_are_printed_everywhere() -> None:
    doubtful = _uncertain(0.9, 1.1, warnings=("3 threads on 2 cores", "wide spread"))
    report = REPORT.model_copy(update={"variants": (doubtful,), "warnings": ("the governor is powersave",)})
    text = printed(200, report)
    assert re.search(r"^Warnings$", text, re.MULTILINE)
    assert "- the governor is powersave" in text
    assert "- int8 (xnnpack, 1 thread): 3 threads on 2 cores\n" in text
    assert "- int8 (xnnpack, 1 thread): wide spread" in text
    markdown_text = markdown.render(report)
    assert "## Warnings\n\n- the governor is powersave\n" in markdown_text
    assert "- **int8 (xnnpack, 1 thread)**: 3 threads on 2 cores\n" in markdown_text
    assert "Warnings" not in printed(200) and "## Warnings" not in markdown.render(REPORT)
    many = [doubtful.model_copy(update={"name": name}) for name in ("a", "b", "c", "d")]
    crowded = report.model_copy(update={"variants": tuple(many)})
    for rendered in (printed(200, crowded), markdown.render(crowded)):
        assert rendered.count("all 4 medians") == 2 and rendered.count("wide spread") == 1
    file = io.StringIO()
    comparison.render_benchmark([doubtful], Console(file=file, width=160), ["the governor is powersave"])
    assert "the governor is powersave" in file.getvalue() and "wide spread" in file.getvalue()


def test_code_span_survives_backticks() -> None:
    assert markdown.code("a`b") == "``a`b``"
    assert markdown.code("`a") == "`` `a ``"


def test_template_is_package_data() -> None:
    assert (Path(markdown.__file__).parent / "report.md.j2").is_file()
