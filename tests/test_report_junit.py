"""junit.xml, read by the standard library's parser: one case a gate check, errors apart, valid whatever the names."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest
from test_report_render import LONG_NAME, REPORT

from tflite_ptq.report import junit
from tflite_ptq.result import GateCheck, Report, VariantResult


def parsed(report: Report) -> ElementTree.Element:
    # From bytes: the declaration's encoding must be true.
    root = ElementTree.fromstring(junit.render(report).encode())
    assert root.tag == "testsuites"
    (suite,) = root.findall("testsuite")
    cases = suite.findall("testcase")
    for element in (root, suite):
        assert int(element.attrib["tests"]) == len(cases)
        assert int(element.attrib["failures"]) == sum(case.find("failure") is not None for case in cases)
        assert int(element.attrib["errors"]) == sum(case.find("error") is not None for case in cases)
    return suite


@pytest.mark.parametrize("update", [{}, {"gate": (), "errors": (), "variants": (), "status": "passed"}])
def test_no_time_is_told_where_none_was_taken(update: dict[str, object]) -> None:
    root = ElementTree.fromstring(junit.render(REPORT.model_copy(update=update)).encode())
    assert [element.tag for element in root.iter() if "time" in element.attrib] == []


def verdicts(report: Report) -> list[tuple[str, str, str]]:
    """(class name, name, verdict) of each case; a case has at most one verdict."""
    found = []
    for case in parsed(report).findall("testcase"):
        kinds = [child.tag for child in case if child.tag in ("failure", "error", "skipped")]
        assert len(kinds) <= 1
        found.append((case.attrib["classname"], case.attrib["name"], *(kinds or ["passed"])))
    return found


def test_one_case_a_check_and_one_an_error() -> None:
    assert verdicts(REPORT) == [
        ("ic.int8", "accuracy.top1.max_drop", "passed"),
        ("ic.int8", "latency.min_speedup[xnnpack,2]", "failure"),
        (f"ic.{LONG_NAME}", "fully_integer", "failure"),
        (f"ic.{LONG_NAME}", "made and measured", "error"),
        ("ic", "run", "error"),
    ]


def test_a_failure_tells_limit_measured_and_variant() -> None:
    failure = parsed(REPORT).find("testcase/failure")
    assert failure is not None
    assert failure.attrib == {"message": "int8: latency.min_speedup[xnnpack,2] is broken", "type": "gate"}
    assert failure.text == (
        "variant: int8\ncheck: latency.min_speedup[xnnpack,2]\nlimit: at least 4.00×; measured: 3.25×"
    )
    assert parsed(REPORT).findtext("testcase/system-out") == "limit: at most 1.00 pt; measured: 0.35 pt"


def test_an_error_is_told_whole_with_its_first_line_as_message() -> None:
    first, second = parsed(REPORT).findall("testcase/error")
    assert first.attrib["message"] == "TFL_Foo has no integer kernel [strict]"
    assert first.text == "TFL_Foo has no integer kernel [strict]\nset float_fallback"
    assert second.text == "the evaluation of 量子化 ran out of memory"


def test_an_error_that_a_variant_and_the_run_both_list_is_one_case() -> None:
    variant = VariantResult(name="int8", scheme="int8", error="no kernel")
    report = REPORT.model_copy(update={"variants": (variant,), "gate": (), "errors": ("no kernel",)})
    assert verdicts(report) == [("ic.int8", "made and measured", "error")]


def test_without_a_gate_every_variant_is_a_case() -> None:
    report = REPORT.model_copy(update={"gate": (), "errors": ()})
    assert verdicts(report) == [
        (f"ic.{LONG_NAME}", "made and measured", "error"),
        ("ic.float32", "made and measured", "passed"),
        ("ic.int8", "made and measured", "passed"),
        ("ic.量子化", "made and measured", "passed"),
    ]


def test_a_run_that_made_nothing_is_a_valid_suite() -> None:
    report = REPORT.model_copy(update={"gate": (), "errors": (), "variants": (), "status": "passed"})
    assert verdicts(report) == []


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a < b & c > 'd' \"e\" ]]>", "a < b & c > 'd' \"e\" ]]>"),
        ("\x1b[31mred\x1b[0m \x00 \x0b", "\ufffd[31mred\ufffd[0m \ufffd \ufffd"),
        ("caf\udce9 \ufffe", "caf\ufffd \ufffd"),
        ("tab\tand 🙂", "tab\tand 🙂"),
    ],
)
def test_text_that_xml_cannot_hold(text: str, shown: str) -> None:
    check = GateCheck(variant="int8", check=f"accuracy.{text}.min", limit=0.5, measured=None, passed=False)
    suite = parsed(REPORT.model_copy(update={"gate": (check,), "errors": (text,)}))
    case = suite.find("testcase")
    # An attribute's tab is read as a space: XML's attribute-value normalization.
    assert case is not None and case.attrib["name"].replace("\t", " ") == f"accuracy.{shown}.min".replace("\t", " ")
    assert suite.findall("testcase/error")[-1].text == shown


def test_properties_say_which_run() -> None:
    found = {one.attrib["name"]: one.attrib["value"] for one in parsed(REPORT).iter("property")}
    assert found == {"status": "error", "recipe": "ic.yaml", "sha256": "ab" * 32}
