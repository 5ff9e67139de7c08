"""report.html in headless Chromium: no console message, no request, sorting, figures, narrow screens, dark, print."""

from __future__ import annotations

import io
import json
import math
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from html_report import BARE, DEBUG, REPORT
from PIL import Image
from shown_figures import Shown, wrong

from tflite_ptq.report import debug_files, files
from tflite_ptq.report.debug_beside import SOURCE

selenium = pytest.importorskip("selenium.webdriver", reason="selenium is not installed; it is in the dev extra")

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
DRIVER = shutil.which("chromedriver")
pytestmark = pytest.mark.skipif(
    CHROMIUM is None or DRIVER is None,
    reason="no chromium and chromedriver on the PATH; Debian has them as chromium and chromium-driver",
)
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
TABLE = "section[aria-labelledby=variants] table"


class Tab:
    """One tab of the browser with a page in it."""

    def __init__(self, driver: Any) -> None:
        self.driver = driver

    def run(self, script: str, *arguments: object) -> Any:
        return self.driver.execute_script(script, *arguments)

    def show(self, page: Path, width: int = 1200, scheme: str = "light", media: str = "") -> None:
        """Opens the page on a screen of this width."""
        metrics = {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": width < 500}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": media, "features": features})
        self.driver.get(page.as_uri())

    def column(self, heading: str) -> list[str]:
        """The first line of each cell below a heading of the table of variants."""
        return self.run(
            "const table = document.querySelector(arguments[0]);"
            "const at = [...table.tHead.rows[0].cells].findIndex((x) => x.textContent.trim() === arguments[1]);"
            "return [...table.tBodies[0].rows].map((row) => row.cells[at].innerText.split('\\n')[0].trim());",
            TABLE,
            heading,
        )

    def button(self, heading: str) -> Any:
        buttons = self.driver.find_elements("css selector", f"{TABLE} button")
        return next(button for button in buttons if button.text.strip() == heading)


@pytest.fixture(scope="module")
def tab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tab]:
    options = selenium.ChromeOptions()
    options.binary_location = CHROMIUM
    for flag in (*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('profile')}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = selenium.Chrome(options=options, service=selenium.ChromeService(DRIVER))
    yield Tab(driver)
    driver.quit()


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run ü")
    debug_files.write(DEBUG, folder / "debug")
    files.write(REPORT, folder)
    return folder


@pytest.mark.parametrize("which", ["full", "bare"])
def test_no_message_on_the_console_and_no_request(tab: Tab, run: Path, tmp_path: Path, which: str) -> None:
    page = run / "report.html"
    if which == "bare":
        files.write(BARE, tmp_path)
        page = tmp_path / "report.html"
    for kind in ("browser", "performance"):
        tab.driver.get_log(kind)  # forget what came before
    tab.show(page)
    assert tab.driver.title.endswith(": error")
    assert tab.driver.get_log("browser") == []
    messages = [json.loads(entry["message"])["message"] for entry in tab.driver.get_log("performance")]
    asked = [x["params"]["request"]["url"] for x in messages if x["method"] == "Network.requestWillBeSent"]
    assert page.as_uri() in asked
    assert [url for url in asked if url != page.as_uri() and not url.startswith("data:")] == []


def test_scripts_that_are_not_the_pages_own_are_refused(tab: Tab, run: Path) -> None:
    tab.show(run / "report.html")
    tab.run(
        "const script = document.createElement('script'); script.textContent = 'window.ran = true';"
        "document.body.append(script);"
    )
    assert tab.run("return window.ran") is None
    tab.driver.get_log("browser")


def test_every_figure_equals_report_json(tab: Tab, run: Path) -> None:
    tab.show(run / "report.html")
    tab.run("for (const one of document.querySelectorAll('details')) one.open = true;")
    shown = tab.run(
        "return [...document.querySelectorAll('[data-value]')].map((x) => ({pointer: x.dataset.pointer,"
        " value: x.dataset.value, text: x.innerText, over: x.dataset.over ?? null,"
        " source: x.dataset.source ?? null}));"
    )
    documents: dict[str | None, object] = {
        None: json.loads((run / "report.json").read_text(encoding="utf-8")),
        SOURCE: json.loads((run / SOURCE).read_text(encoding="utf-8")),
    }
    assert len(shown) > 400
    assert wrong([Shown(**figure) for figure in shown], documents) == []
    # And no figure is on the page but those: what is left of the cells of numbers has no digit.
    bare = tab.run(
        "return [...document.querySelectorAll('td.n, dd')].map((cell) => { const copy = cell.cloneNode(true);"
        " for (const x of copy.querySelectorAll('[data-value], code')) x.remove();"
        " return [cell.className, copy.textContent.trim()]; });"
    )
    assert [text for kind, text in bare if kind == "n" and any(map(str.isdigit, text))] == []


SIZES = ["304.0 KiB", "99.0 KiB", "156.5 KiB", "94.0 KiB", "88.0 KiB", "97.0 KiB", "2.38 MiB", "–"]
ASCENDING = ["88.0 KiB", "94.0 KiB", "97.0 KiB", "99.0 KiB", "156.5 KiB", "304.0 KiB", "2.38 MiB", "–"]


def test_a_click_sorts_by_number_both_ways_and_the_unmeasured_last(tab: Tab, run: Path) -> None:
    tab.show(run / "report.html")
    assert tab.column("size") == SIZES
    button = tab.button("size")
    button.click()
    assert tab.column("size") == ASCENDING
    assert tab.run("return arguments[0].closest('th').getAttribute('aria-sort')", button) == "ascending"
    button.click()
    assert tab.column("size") == [*ASCENDING[-2::-1], "–"]
    assert tab.run("return arguments[0].closest('th').getAttribute('aria-sort')", button) == "descending"
    # µs and ms in one column; rows move whole.
    tab.button("cpu, 1 thread").click()
    assert tab.column("cpu, 1 thread")[:6] == ["318 µs", "320 µs", "510 µs", "828 µs", "830 µs", "7.80 ms"]
    assert tab.column("variant")[:3] == ["int8-per-tensor", "int8", "dynamic"]
    assert len(tab.run(f"return [...document.querySelectorAll('{TABLE} [aria-sort]')]")) == 1


def test_names_sort_as_text_and_identical_outputs_as_infinitely_close(tab: Tab, run: Path) -> None:
    tab.show(run / "report.html")
    tab.button("variant").click()
    expected = ["dynamic", "float16", "float32", "identical", "int8", "int8-per-tensor", "int16x8", "量子化"]
    assert tab.column("variant") == expected
    tab.button("SQNR").click()
    assert tab.column("SQNR") == ["31.3 dB"] * 5 + ["identical", "–", "–"]


def test_the_keyboard_sorts(tab: Tab, run: Path) -> None:
    tab.show(run / "report.html")
    # The scrolling gate and variants regions come first; then the headings, one Tab each.
    headings = []
    for _ in range(6):
        tab.driver.switch_to.active_element.send_keys("\ue004")
        headings.append(tab.driver.switch_to.active_element.text.strip())
    assert headings[-4:] == ["variant", "size", "integer", "top1"]
    tab.driver.switch_to.active_element.send_keys("\ue007")
    assert tab.column("top1")[:2] == ["80.10 %", "86.20 %"]
    tab.driver.switch_to.active_element.send_keys(" ")
    assert tab.column("top1")[:2] == ["87.35 %", "87.25 %"]


@pytest.mark.parametrize("width", [320, 360, 390, 768, 1200])
def test_nothing_is_wider_than_the_screen(tab: Tab, run: Path, width: int) -> None:
    tab.show(run / "report.html", width)
    tab.run("for (const one of document.querySelectorAll('details')) one.open = true;")
    assert tab.run("return document.documentElement.scrollWidth") <= width
    # Texts of plots, as tall as they are on the screen: 10 px can be read.
    heights = tab.run("return [...document.querySelectorAll('svg text')].map((x) => x.getBoundingClientRect().height)")
    assert min(heights) >= 10


def test_what_was_measured_is_in_sight_on_a_phone(tab: Tab, run: Path) -> None:
    tab.show(run / "report.html", 360)
    right = tab.run("return [...document.querySelectorAll('.gate td')].map((x) => x.getBoundingClientRect().right)")
    assert max(right) <= 360


def test_texts_of_a_plot_do_not_overlap(tab: Tab, run: Path) -> None:
    tab.show(run / "report.html")
    boxes = tab.run(
        "return [...document.querySelectorAll('svg')].map((plot) => [...plot.querySelectorAll('text')]"
        ".filter((x) => x.textContent && getComputedStyle(x).opacity > 0)"
        ".map((x) => { const b = x.getBoundingClientRect();"
        " return [x.textContent, b.left, b.right, b.top, b.bottom]; }));"
    )
    assert len(boxes) == 10
    for plot in boxes:
        for i, (one, left, right, top, bottom) in enumerate(plot):
            for other, left2, right2, top2, bottom2 in plot[:i]:
                apart = left >= right2 or left2 >= right or top >= bottom2 - 3 or top2 >= bottom - 3
                assert apart, (one, other)


def test_marks_stand_where_the_figures_say(tab: Tab, run: Path) -> None:
    """In the first trade-off, horizontal places go with log(median), vertical ones with top1, areas with size."""
    tab.show(run / "report.html")
    marks = tab.run(
        "const plot = document.querySelector('section[aria-labelledby=tradeoff] svg');"
        "return [...plot.querySelectorAll('.mark-symbol.role-mark path')].map((x) => {"
        " const m = x.getCTM(), b = x.getBBox(); return [m.e, m.f, b.width]; });"
    )
    timed = [(v.latency[0].median_ns, v.accuracy["top1"].value, v.size_bytes) for v in REPORT.variants if v.latency]
    assert len(marks) == len(timed) == 6
    across = [math.log(median) for median, _, _ in timed]
    assert affine_residual(across, [x for x, _, _ in marks]) < 0.6
    assert affine_residual([top1 for _, top1, _ in timed], [y for _, y, _ in marks]) < 0.6
    assert marks[0][0] > marks[3][0] and marks[0][1] < marks[3][1]  # slower to the right, better further up
    # Vega's areas are of the square around a mark.
    areas = [width**2 for _, _, width in marks[:2]]
    assert areas[0] / areas[1] == pytest.approx(timed[0][2] / timed[1][2], rel=0.01)


def affine_residual(figures: list[float], places: list[float]) -> float:
    """The largest distance of ``places`` from the line through the two with extreme ``figures``."""
    low, high = figures.index(min(figures)), figures.index(max(figures))
    slope = (places[high] - places[low]) / (figures[high] - figures[low])
    return max(abs(places[low] + slope * (f - figures[low]) - p) for f, p in zip(figures, places, strict=True))


def test_light_and_dark_and_what_plots_take_from_them(tab: Tab, run: Path) -> None:
    found = {}
    for scheme in ("light", "dark"):
        tab.show(run / "report.html", scheme=scheme)
        found[scheme] = tab.run(
            "const body = getComputedStyle(document.body);"
            "const text = getComputedStyle(document.querySelector('svg text'));"
            "return [body.backgroundColor, body.color, text.fill];"
        )
        background, ink, plot_ink = found[scheme]
        assert plot_ink == ink
        assert contrast(background, ink) > 7
    assert sum(channels(found["light"][0])) > 700 and sum(channels(found["dark"][0])) < 150


def channels(colour: str) -> list[int]:
    return [int(channel) for channel in colour.removeprefix("rgb(").removesuffix(")").split(",")]


def contrast(one: str, other: str) -> float:
    """WCAG 2's contrast ratio."""

    def luminance(colour: str) -> float:
        linear = [
            c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in (x / 255 for x in channels(colour))
        ]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def test_print_is_light_whole_and_without_controls(tab: Tab, run: Path) -> None:
    tab.show(run / "report.html", width=720, scheme="dark", media="print")
    assert tab.run("return getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    arrows = tab.run(
        "return [...document.querySelectorAll('th button')].map((x) => getComputedStyle(x, '::after').content)"
    )
    assert set(arrows) == {"none"}
    assert tab.run("return getComputedStyle(document.querySelector('.screen')).display") == "none"
    assert tab.run("return document.querySelectorAll('details:not([open])').length") > 0
    tab.run("dispatchEvent(new Event('beforeprint'))")
    assert tab.run("return document.querySelectorAll('details:not([open])').length") == 0
    tab.run("dispatchEvent(new Event('afterprint'))")
    assert tab.run("return document.querySelectorAll('details[open]').length") == 0


def test_figures_rows_and_texts_are_not_parted_by_a_page(tab: Tab, run: Path) -> None:
    tab.show(run / "report.html", width=720, media="print")
    parted = tab.run(
        "return [...document.querySelectorAll('figure, tr, li, p, dl, .confusion')]"
        ".filter((x) => getComputedStyle(x).breakInside !== 'avoid').map((x) => x.tagName)"
    )
    assert parted == []
    # Two plots beside each other, none of them a cell of a grid, which browsers part all the same.
    places = tab.run(
        "return [...document.querySelectorAll('section[aria-labelledby=tradeoff] figure')].map((x) =>"
        " [getComputedStyle(x.parentElement).display, x.getBoundingClientRect().left]);"
    )
    assert {display for display, _ in places} == {"block"}
    assert len({round(left) for _, left in places}) == 2


def test_a_table_that_scrolls_shows_that_there_is_more(tab: Tab, run: Path) -> None:
    """The right edge of the table of variants is shaded, until it is scrolled to its end."""
    tab.show(run / "report.html", 390)
    region = "document.querySelector('section[aria-labelledby=variants] .wide')"
    assert tab.run(f"const x = {region}; x.scrollIntoView(); return x.scrollWidth > x.clientWidth + 50")
    shaded = edge(tab, region)
    tab.run(f"const x = {region}; x.scrollLeft = x.scrollWidth;")
    at_the_end = edge(tab, region)
    assert min(shaded) < 200 and min(at_the_end) > 240
    tab.show(run / "report.html", 1200)
    tab.run(f"{region}.scrollIntoView()")
    assert min(edge(tab, region)) > 240, "nothing where all of it is in sight"


def edge(tab: Tab, region: str) -> tuple[int, ...]:
    """The colour just within the right edge of an element, above its first line of text."""
    left, top = tab.run(f"const b = {region}.getBoundingClientRect(); return [b.right - 2, b.top + 2]")
    shot = Image.open(io.BytesIO(tab.driver.get_screenshot_as_png())).convert("RGB")
    colour = shot.getpixel((round(left), round(top)))
    assert isinstance(colour, tuple)
    return colour
