"""What is wrong with a run, and how GitHub and GitLab are told: places in the recipe, escapes, required keys."""

from __future__ import annotations

import json
import re

import pytest
from test_report_render import LONG_NAME, REPORT

from tflite_ptq.report import github, gitlab
from tflite_ptq.report.complaints import Complaint, complaints, place_of
from tflite_ptq.report.summary import MOST_BYTES, Where, fitted, render
from tflite_ptq.result import GateCheck, Report

RECIPE = f"""\
version: 1
name: ic
model: {{path: ic.h5}}
variants:
  - int8
  - {{scheme: int8, name: {LONG_NAME}}}
gate:
  int8:
    accuracy: {{metric: top1, max_drop: 0.01}}
    latency:
      # in every configuration
      min_speedup: 4
  {LONG_NAME}: {{
    fully_integer: true,
  }}
"""


def with_recipe(text: str | None, *overrides: str) -> Report:
    recipe = REPORT.recipe.model_copy(update={"text": text, "overrides": overrides})
    return REPORT.model_copy(update={"recipe": recipe})


def line_of(words: str) -> int:
    return 1 + [words in line for line in RECIPE.splitlines()].index(True)


def test_errors_come_first_and_each_has_its_line() -> None:
    assert complaints(with_recipe(RECIPE)) == (
        Complaint(
            LONG_NAME,
            "error",
            f"{LONG_NAME}: TFL_Foo has no integer kernel [strict]\nset float_fallback",
            line_of("variants:"),
        ),
        Complaint(None, "error", "the evaluation of 量子化 ran out of memory", 1),
        Complaint(
            "int8",
            "latency.min_speedup[xnnpack,2]",
            "int8: latency.min_speedup[xnnpack,2] is broken (limit: at least 4.00×; measured: 3.25×)",
            line_of("min_speedup: 4"),
        ),
        Complaint(
            LONG_NAME,
            "fully_integer",
            f"{LONG_NAME}: fully_integer is broken (limit: yes; not measured)",
            line_of("fully_integer"),
        ),
    )


@pytest.mark.parametrize(
    ("override", "told"),
    [
        ("gate.int8.latency.min_speedup=4", True),
        ("gate.int8.latency={min_speedup: 4}", True),
        ("gate={}", True),
        ("gate.int8.latency.min_speedup_other=4", False),
        ("gate.int8.size.max_ratio=4", False),
    ],
)
def test_a_limit_of_the_command_line_is_said_to_be(override: str, told: bool) -> None:
    complaint = complaints(with_recipe(RECIPE, "name=x", override))[2]
    assert complaint.message.endswith(f"; the limit is from --set {override}") is told


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        (None, [None] * 4),  # a report without the recipe's text
        ("a: [", [1] * 4),  # a report that was edited
        ("gate:\n  int8: {latency: {}}\n", [1, 1, 2, 1]),  # the nearest block that is there
        ("gate:\n  ...", [1, 1, 1, 1]),
    ],
)
def test_lines_where_the_recipe_tells_less(text: str | None, lines: list[int | None]) -> None:
    assert [complaint.line for complaint in complaints(with_recipe(text))] == lines


@pytest.mark.parametrize(
    ("check", "place"),
    [
        ("fully_integer", ("fully_integer",)),
        ("size.max_ratio", ("size", "max_ratio")),
        ("fidelity.min_sqnr_db", ("fidelity", "min_sqnr_db")),
        ("accuracy.max_drop", ("accuracy", "max_drop")),
        ("accuracy.top1.max_drop", ("accuracy", "max_drop")),
        ("accuracy.my.module:f.min", ("accuracy", "min")),
        ("accuracy.top1(out[0].x).max_drop", ("accuracy", "max_drop")),
        ("latency.min_speedup[xnnpack,2]", ("latency", "min_speedup")),
        ("latency.max_median_ms[*,*]", ("latency", "max_median_ms")),
        ("latency.max_median_ms[lib.v2.so,1]", ("latency", "max_median_ms")),
    ],
)
def test_place_of_a_check(check: str, place: tuple[str, ...]) -> None:
    found = place_of(GateCheck(variant="int8.v2", check=check, limit=1.0, measured=None, passed=False))
    assert found == ("gate", "int8.v2", *place)


def runner_reads(line: str) -> tuple[dict[str, str], str]:
    """Properties and message, as GitHub's runner reads a command: split first, then each value unescaped."""
    assert "\n" not in line and "\r" not in line
    assert line.startswith("::error ")
    end = line.index("::", 2)
    properties = dict(pair.split("=", 1) for pair in line[len("::error ") : end].split(",") if pair)
    escapes = {"%0D": "\r", "%0A": "\n", "%3A": ":", "%2C": ",", "%25": "%"}

    def unescaped(text: str, known: set[str]) -> str:
        return re.sub("%[0-9A-F]{2}", lambda code: escapes[code[0]] if code[0] in known else code[0], text)

    named = {key: unescaped(value, set(escapes)) for key, value in properties.items()}
    return named, unescaped(line[end + 2 :], {"%0D", "%0A", "%25"})


@pytest.mark.parametrize(
    "text",
    [
        "plain",
        "100 % of 5, or 7: a::b",
        "two\nlines\r\nmore",
        "%0A is no line break, %25 no percent sign",
        "::error file=x::nested",
        "a=b,c=d",
        "量子化 ##[error]",
        "",
    ],
)
def test_the_runner_reads_back_what_was_meant(text: str) -> None:
    for file, line in ((text or None, 7), (None, None)):
        properties, message = runner_reads(github.command(text, title=f"t {text}", file=file, line=line))
        assert message == text
        assert properties.pop("title") == f"t {text}"
        assert properties == ({} if line is None else {"line": "7"} | ({"file": text} if text else {}))


def test_one_annotation_a_complaint() -> None:
    found = complaints(with_recipe(RECIPE))
    read = [runner_reads(line) for line in github.of_complaints(found, "re,cipes/ic: 1.yaml")]
    assert [message for _, message in read] == [complaint.message for complaint in found]
    assert {properties["file"] for properties, _ in read} == {"re,cipes/ic: 1.yaml"}
    assert [int(properties["line"]) for properties, _ in read] == [complaint.line for complaint in found]
    assert read[2][0]["title"] == "tflite-ptq: int8 latency.min_speedup[xnnpack,2]"
    assert read[1][0]["title"] == "tflite-ptq: error"


@pytest.mark.parametrize(
    ("message", "read"),
    [
        ("gone: no such file", [(None, None, "gone: no such file")]),
        ("two\nlines", [(None, None, "two\nlines")]),
        ("r.yaml:3: model: missing; add it", [("/r.yaml", "3", "model: missing; add it")]),
        ("r.yaml:3:9: not valid YAML: x", [("/r.yaml", "3", "not valid YAML: x")]),
        (
            "a b/r.yaml:3: one\n--set x=1: two\na b/r.yaml:12: three",
            [("/a b/r.yaml", "3", "one"), (None, None, "--set x=1: two"), ("/a b/r.yaml", "12", "three")],
        ),
    ],
)
def test_a_message_is_annotated_where_it_points(message: str, read: list[tuple[str | None, str | None, str]]) -> None:
    found = [runner_reads(line) for line in github.of_message(message, lambda path: f"/{path}")]
    assert [(properties.get("file"), properties.get("line"), text) for properties, text in found] == read


def test_code_quality_has_the_keys_that_gitlab_requires() -> None:
    found = complaints(with_recipe(RECIPE))
    entries = json.loads(gitlab.render(found, "recipes/ic.yaml"))
    assert len(entries) == len(found) == 4
    for entry, complaint in zip(entries, found, strict=True):
        assert entry.keys() == {"description", "check_name", "fingerprint", "severity", "location"}
        assert entry["description"] == complaint.message
        assert entry["severity"] in {"info", "minor", "major", "critical", "blocker"}
        assert entry["location"] == {"path": "recipes/ic.yaml", "lines": {"begin": complaint.line}}
    assert [entry["severity"] for entry in entries] == ["critical", "critical", "major", "major"]
    assert len({entry["fingerprint"] for entry in entries}) == 4
    assert json.loads(gitlab.render((), "ic.yaml")) == []
    unknown = json.loads(gitlab.render(complaints(with_recipe(None)), "ic.yaml"))
    assert {entry["location"]["lines"]["begin"] for entry in unknown} == {1}


def fingerprint(check: str, message: str, line: int = 1) -> str:
    (entry,) = json.loads(gitlab.render([Complaint("int8", check, message, line)], "ic.yaml"))
    return str(entry["fingerprint"])


def test_a_fingerprint_stays_while_figures_and_lines_move() -> None:
    assert fingerprint("size.max_ratio", "0.51", 3) == fingerprint("size.max_ratio", "0.52", 9)
    assert fingerprint("size.max_ratio", "0.51") != fingerprint("size.max_bytes", "0.51")
    assert fingerprint("error", "no kernel") != fingerprint("error", "no memory")


def test_the_summary_is_verdict_variants_gate_errors_and_links() -> None:
    where = Where("out/i`c", "https://github.com/o/r/actions/runs/1", "https://github.com/o/r/blob/abc/ic.yaml")
    text = render(REPORT, where)
    assert text.startswith("# ic: error\n")
    assert re.findall("^## (.*)$", text, re.MULTILINE) == ["Variants", "Gate", "Errors"]
    assert "| int8 | 94.0 KiB | 0.31× | yes | 86.90 % | -0.35 pt |" in text
    assert "| int8 | `latency.min_speedup[xnnpack,2]` | at least 4.00× | 3.25× | **FAIL** |" in text
    assert "in ``out/i`c``; [artifacts of this workflow run](https://github.com/o/r/actions/runs/1#artifacts)" in text
    assert "[The recipe](https://github.com/o/r/blob/abc/ic.yaml) at this commit." in text
    assert "](" not in render(REPORT, Where("out"))


@pytest.mark.parametrize("room", [MOST_BYTES, 5000, 1000, 100, 1, 0, -10])
def test_a_summary_fits_its_room(room: int) -> None:
    whole = "".join(f"line {number}: größer als ein Byte\n" for number in range(100_000))
    cut = fitted(whole, room)
    assert len(cut.encode()) <= max(room, 0)
    if cut:
        kept, _, note = cut.partition("\n\nCut: ")
        assert note.startswith("a step summary holds 1 MiB") and whole.startswith(f"{kept}\n")
    assert bool(cut) is (room >= 100)


def test_a_summary_that_fits_is_whole() -> None:
    assert fitted("größer\n", 9) == "größer\n"
    assert fitted("größer\n", 8) == ""
