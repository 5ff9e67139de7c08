"""report.html without a browser: its figures against report.json, escaping, what vanishes, the Pareto front."""

from __future__ import annotations

import json
import math
import random
import re
from pathlib import Path

import pytest
from html_report import BARE, DEBUG, HOSTILE, REPORT, latency
from shown_figures import Page, wrong

from tflite_ptq.report import debug_files, files
from tflite_ptq.report.debug_beside import SOURCE, DebugBeside, beside
from tflite_ptq.report.html import scales, tradeoff
from tflite_ptq.report.html.page import render
from tflite_ptq.report.html.pareto import front
from tflite_ptq.result import Fidelity, Metric, VariantResult


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run, with what ``debug`` left."""
    folder = tmp_path_factory.mktemp("run")
    debug_files.write(DEBUG, folder / "debug")
    files.write(REPORT, folder)
    return folder


@pytest.fixture(scope="module")
def page(run: Path) -> Page:
    return Page((run / "report.html").read_text(encoding="utf-8"))


def test_every_figure_is_the_documents(run: Path, page: Page) -> None:
    documents: dict[str | None, object] = {
        None: json.loads((run / "report.json").read_text(encoding="utf-8")),
        SOURCE: json.loads((run / "debug" / "debug.json").read_text(encoding="utf-8")),
    }
    assert wrong(page.figures, documents) == []
    shown = {re.sub(r"/\d+", "/*", figure.pointer) for figure in page.figures if figure.source is None}
    assert shown >= {
        "/gate/*/limit",
        "/gate/*/measured",
        "/gate/*/confidence",
        "/variants/*/size_bytes",
        "/variants/*/audit/fully_integer",
        "/variants/*/accuracy/top1/value",
        "/variants/*/accuracy/top1/change",
        "/variants/*/accuracy/top1/interval/low",
        "/variants/*/accuracy/top1/change_interval/high",
        "/variants/*/accuracy/top1/p_value",
        "/variants/*/accuracy/mae/value",
        "/variants/*/fidelity/agreement",
        "/variants/*/fidelity/sqnr_db",
        "/variants/*/latency/*/median_ns",
        "/variants/*/latency/*/median_interval_ns/low",
        "/variants/*/latency/*/speedup_interval/high",
        "/variants/*/latency/*/p99_ns",
        "/variants/*/latency/*/left_ops/SOFTMAX",
        "/variants/*/classes/classes/*/recall",
        "/variants/*/classes/regressions/*/margin",
        "/variants/*/classes/confusion/*/*",
        "/dataset/calibration_samples",
        "/durations_s/convert",
    }
    assert {figure.pointer for figure in page.figures if figure.source == SOURCE} >= {"/samples", "/layers/0/gain_db"}


def test_nothing_of_the_report_becomes_markup(page: Page) -> None:
    assert page.text.count(HOSTILE) > 20
    assert not [attributes for _, attributes in page.tags if "onerror" in attributes]
    pictures = [attributes["src"] for tag, attributes in page.tags if tag == "img"]
    assert pictures == [x.thumbnail for v in REPORT.variants if v.classes for x in v.classes.regressions if x.thumbnail]


def test_a_thumbnail_that_is_no_picture_is_left_out() -> None:
    int8 = next(variant for variant in REPORT.variants if variant.name == "int8")
    assert int8.classes is not None
    sample = int8.classes.regressions[0].model_copy(update={"thumbnail": "https://example.org/x.png"})
    classes = int8.classes.model_copy(update={"regressions": (sample,)})
    edited = REPORT.model_copy(update={"variants": (int8.model_copy(update={"classes": classes}),)})
    source = render(edited, DebugBeside())
    assert "example.org" not in source
    assert sample.sample in Page(source).text


def test_the_page_needs_nothing_beside_it(page: Page) -> None:
    assert {tag for tag, _ in page.tags} & {"link", "iframe", "object", "base", "image", "use"} == set()
    for tag, attributes in page.tags:
        assert "href" not in attributes and "xlink:href" not in attributes
        assert attributes.get("src", "data:").startswith("data:"), tag
    policy = next(a["content"] for _, a in page.tags if a.get("http-equiv") == "Content-Security-Policy")
    assert policy.startswith("default-src 'none'; img-src data:;")


def test_plots_are_named_for_those_who_do_not_see_them(page: Page) -> None:
    assert len(page.ids) == len(set(page.ids))
    plots = [attributes for tag, attributes in page.tags if tag == "svg"]
    # Trade-off: three configurations and size; latency: three; classes of two variants; layers.
    assert len(plots) == 4 + 3 + 2 + 1
    for plot in plots:
        assert plot["role"] == "img"
        assert set(plot["aria-labelledby"].split()) <= set(page.ids)
        assert "width" not in plot and plot["viewbox"].startswith("0 0 380 ")
    assert "top1 against size" in page.text
    assert "int8 320 µs" in page.text  # the description of a latency plot


def test_colours_are_the_pages() -> None:
    colours = set(re.findall(r'(?:fill|stroke)="([^"]+)"', render(REPORT, DebugBeside())))
    assert {colour for colour in colours if not colour.startswith("var(--")} <= {"none", "transparent"}


def test_bare_report_says_what_is_missing_and_draws_nothing() -> None:
    source = render(BARE, DebugBeside())
    page = Page(source)
    assert "ERROR the run met an error" in page.text
    assert "the model cannot be opened" in page.text
    assert [tag for tag, _ in page.tags if tag == "svg"] == []
    assert {"variants", "gate", "classes", "samples", "layers", "calibration", "files"} & set(page.ids) == set()
    assert page.text.count("Not measured") == 2  # the trade-off and the latency


def test_one_variant_with_little_known() -> None:
    variant = VariantResult(name="float32", scheme="float32", size_bytes=10, accuracy={"m:f(a/b~c)": Metric(value=0.5)})
    report = BARE.model_copy(update={"variants": (variant,), "errors": (), "status": "passed"})
    figures = Page(render(report, DebugBeside())).figures
    assert ("/variants/0/accuracy/m:f(a~1b~0c)/value", "0.5") in {(x.pointer, x.value) for x in figures}
    assert wrong(figures, {None: report.model_dump(mode="json")}) == []


@pytest.mark.parametrize(
    ("change", "shown", "remark"),
    [
        ({}, True, None),
        ({"recipe": DEBUG.recipe.model_copy(update={"overrides": ("variants=[]",)})}, True, "have changed since"),
        # A limit of the gate changes nothing of what was analysed.
        ({"recipe": DEBUG.recipe.model_copy(update={"overrides": ()})}, True, None),
        ({"model_sha256": "00" * 32}, False, "is of another model than this run's: run `tflite-ptq debug` again"),
        ({"model_sha256": None}, False, "is of another model"),
        ({"variant": "int4"}, False, "is of variant 'int4', which this run has not"),
    ],
)
def test_debug_json_belongs_to_the_run_or_is_left_out(
    tmp_path: Path, change: dict[str, object], shown: bool, remark: str | None
) -> None:
    debug_files.write(DEBUG.model_copy(update=change), tmp_path / "debug")
    found = beside(REPORT, tmp_path)
    assert (found.report is not None) is shown
    assert remark in found.remark if remark and found.remark else found.remark is None and remark is None
    source = Page(render(REPORT, found))
    assert ("share of the noise (%)" in source.text) is shown
    assert remark is None or remark in source.text


@pytest.mark.parametrize(
    "data", [b"", b'{"format": "tflite-ptq-debug/1"', b'{"format": "tflite-ptq-debug/2"}', b"\xff"]
)
def test_damaged_debug_json_is_said(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "debug").mkdir()
    (tmp_path / "debug" / "debug.json").write_bytes(data)
    assert "is damaged or of another version" in Page(render(REPORT, beside(REPORT, tmp_path))).text


def test_no_debug_json_no_section(tmp_path: Path) -> None:
    assert beside(REPORT, tmp_path) == DebugBeside()
    assert "layers" not in Page(render(REPORT, DebugBeside())).ids


@pytest.mark.parametrize(
    ("costs", "best"),
    [
        ([], []),
        ([(1, 2), (2, 1), (2, 2), (3, 3)], [True, True, False, False]),
        ([(1, 1), (1, 1)], [True, True]),
        ([(1, 5), (1, 4)], [False, True]),
        ([(1, 2, 3), (1, 2, 2), (0, 9, 9)], [False, True, True]),
    ],
)
def test_front_by_hand(costs: list[tuple[float, ...]], best: list[bool]) -> None:
    assert front(costs) == best


def test_front_of_two_costs_is_the_running_minimum() -> None:
    rng = random.Random(0)
    costs = [(rng.randrange(20), rng.randrange(20)) for _ in range(200)]
    # Sorted by the first cost, a point is on the front where its second is below all that came before.
    lowest, staircase = math.inf, set()
    for x, y in sorted(costs):
        if y < lowest:
            staircase.add((x, y))
            lowest = y
    assert {cost for cost, best in zip(costs, front(costs), strict=True) if best} == staircase


def test_panels_of_the_sample() -> None:
    quality = tradeoff.quality_of(REPORT.variants)
    assert quality == tradeoff.Quality("top1", True)
    panels = tradeoff.panels(REPORT.variants, quality)
    assert [panel.configuration for panel in panels] == [("cpu", 1), ("xnnpack", 1), ("xnnpack", 2), None]
    assert {len(panel.points) for panel in panels} == {6}  # two variants have no accuracy
    # float32 (304 KiB, 830 µs) is beaten by float16 (as accurate, 156 KiB, 828 µs) on cpu, not on xnnpack with 2
    # threads (155 µs against 156 µs). By size alone int16x8 (97.0 KiB, 87.35 %) beats all that are larger.
    assert set(panels[0].best) == {"dynamic", "float16", "int8", "int8-per-tensor", "int16x8"}
    assert set(panels[2].best) == {"float32", "dynamic", "float16", "int8", "int8-per-tensor", "int16x8"}
    assert set(panels[3].best) == {"int8", "int8-per-tensor", "int16x8"}


def test_for_an_error_less_is_better() -> None:
    variants = [
        VariantResult(
            name=name, scheme="int8", size_bytes=size, accuracy={"mae": Metric(value=mae, higher_is_better=False)}
        )
        for name, size, mae in (("small", 10, 0.5), ("good", 20, 0.1), ("bad", 30, 0.2))
    ]
    quality = tradeoff.quality_of(variants)
    assert quality is not None
    assert [panel.best for panel in tradeoff.panels(variants, quality)] == [("small", "good")]


def test_without_metrics_closeness_is_the_quality() -> None:
    def variant(name: str, size: int, sqnr_db: float | None) -> VariantResult:
        fidelity = Fidelity(agreement=None, sqnr_db=sqnr_db, samples=3)
        return VariantResult(name=name, scheme="int8", size_bytes=size, fidelity=fidelity)

    variants = [variant("a", 10, 30.0), variant("b", 20, 40.0), variant("c", 30, None)]
    assert tradeoff.quality_of(variants) == tradeoff.Quality(None)
    assert [panel.best for panel in tradeoff.panels(variants, tradeoff.Quality(None))] == [("a", "b")]
    assert tradeoff.quality_of([variant("c", 30, None)]) is None


@pytest.mark.parametrize(
    ("low", "high", "ticks"),
    [
        (30, 900, [50, 100, 200, 500]),
        (1, 10, [1, 2, 5, 10]),
        (2, 3e6, [10, 100, 1000, 10_000, 100_000, 1_000_000]),
    ],
)
def test_ticks_of_a_logarithmic_axis(low: float, high: float, ticks: list[float]) -> None:
    assert scales.log_ticks(low, high) == pytest.approx(ticks)


def test_axes_choose_unit_and_scale() -> None:
    assert scales.time_unit([80_000, 7_800_000]) == scales.Unit(1e3, "µs")
    assert scales.time_unit([0, 5]) == scales.Unit(1.0, "ns")
    assert scales.size_unit([2 * 1024**2]) == scales.Unit(1024.0**2, "MiB")
    # Across decades the axis's middle counts: 0.3 to 80 ms, not 300 to 80,000 µs.
    assert scales.time_unit([300_000, 80_000_000]) == scales.Unit(1e6, "ms")


@pytest.mark.parametrize(
    ("figures", "title", "kind"),
    [([1, 7], "latency (ns)", None), ([1, 9], "latency (ns, logarithmic)", "log"), ([0, 9], "latency (ns)", None)],
)
def test_an_axis_says_its_unit_and_that_it_is_logarithmic(figures: list[float], title: str, kind: str | None) -> None:
    made = scales.axis("latency", scales.Unit(1.0, "ns"), figures)
    assert (made["title"], made["scale"].get("type")) == (title, kind)  # type: ignore[attr-defined]


def test_axes_on_the_page_name_their_units(page: Page) -> None:
    for title in ("median latency (µs, logarithmic)", "size (KiB)", "top1 (%)", "change of recall (pt)"):
        assert title in page.text, title


def _twin(name: str, **changes: object) -> VariantResult:
    int8 = next(variant for variant in REPORT.variants if variant.name == "int8")
    return int8.model_copy(update={"name": name, "classes": None, **changes})


@pytest.mark.parametrize(
    "variants",
    [
        [_twin("a"), _twin("b")],  # equal in everything: axes of no width
        [_twin(f"variant {i} {'long ' * 20}", size_bytes=9000 + i) for i in range(12)],
        [_twin("a", size_bytes=0), _twin("b", size_bytes=1)],
        [_twin("a", accuracy={"m:f": Metric(value=-1e30)}), _twin("b", accuracy={"m:f": Metric(value=1e-30)})],
        [_twin("a", latency=(latency("cpu", 1, 0, None),)), _twin("b", latency=(latency("cpu", 1, 10**12, 1),))],
    ],
    ids=["equal", "many", "empty", "extreme", "instant"],
)
def test_odd_figures_are_drawn_too(variants: list[VariantResult], capfd: pytest.CaptureFixture[str]) -> None:
    report = REPORT.model_copy(update={"variants": tuple(variants)})
    source = render(report, DebugBeside())
    assert capfd.readouterr().err == ""  # Vega says there what it could not draw
    plots = re.findall(r"<svg.*?</svg>", source, re.DOTALL)
    assert len(plots) > 2
    assert [plot for plot in plots if "NaN" in plot or "Infinity" in plot or "undefined" in plot] == []
    by_size = plots[len({(x.delegate, x.threads) for v in variants for x in v.latency or ()})]
    marks = re.search(r'<g class="mark-symbol role-mark[^>]*>(.*?)</g>', by_size)
    assert marks is not None and marks[1].count("<path") == len(variants)


def test_more_classes_than_a_page_should_hold() -> None:
    int8 = next(variant for variant in REPORT.variants if variant.name == "int8")
    assert int8.classes is not None
    one = int8.classes.classes[0]
    many = tuple(one.model_copy(update={"name": f"c{i}", "change": -i / 1000}) for i in range(1000))
    classes = int8.classes.model_copy(update={"classes": many, "confusion": ()})
    report = REPORT.model_copy(update={"variants": (int8.model_copy(update={"classes": classes}),)})
    source = render(report, DebugBeside())
    assert "The 50 classes that changed most; all 1000 are in report.json." in source
    rows = re.findall(r'<th scope="row" class="name">(c\d+)</th>', source)
    assert rows == [f"c{i}" for i in range(999, 949, -1)]
