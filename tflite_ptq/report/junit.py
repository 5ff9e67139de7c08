"""The run as JUnit XML, which CI systems show beside the tests: one test case a gate check. Pure.

Format: the ``testsuites`` of Apache Ant's JUnit task, as Jenkins, GitLab and GitHub's test reporters read it.
"""

from __future__ import annotations

import re
from xml.etree import ElementTree

from junitparser import Error, Failure, JUnitXml, TestCase, TestSuite

from tflite_ptq.report.complaints import run_errors, verdict
from tflite_ptq.result import GateCheck, Report

# What XML 1.0 cannot hold even as a reference (its production [2], Char).
_NO_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def render(report: Report) -> str:
    """The report's gate as a test suite: a broken limit is a failure, whatever could not be made or measured an error.

    Without a gate each variant is one test case, for Jenkins takes a suite without any as an error.
    """
    suite = TestSuite(_xml(f"tflite-ptq {report.recipe.name}"))
    for name, value in (("status", report.status), ("recipe", report.recipe.path), ("sha256", report.recipe.sha256)):
        suite.add_property(name, _xml(value))
    suite.add_testcases([_of_check(report, check) for check in report.gate])
    suite.add_testcases(_of_errors(report))
    if not report.gate:
        made = [variant.name for variant in report.variants if variant.error is None]
        suite.add_testcases([_case(report, name, "made and measured") for name in made])
    document = JUnitXml(suite.name)
    document.add_testsuite(suite)
    document.update_statistics()
    root = ElementTree.fromstring(document.tostring())
    for element in root.iter():
        # A check takes no time of its own, and 0 seconds would be a measurement.
        element.attrib.pop("time", None)
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{ElementTree.tostring(root, encoding="unicode")}\n'


def _of_check(report: Report, check: GateCheck) -> TestCase:
    case = _case(report, check.variant, check.check)
    if check.passed:
        case.system_out = verdict(check)
    else:
        failure = Failure(_xml(f"{check.variant}: {check.check} is broken"), "gate")
        failure.text = f"variant: {_xml(check.variant)}\ncheck: {_xml(check.check)}\n{verdict(check)}"
        case.result = [failure]
    return case


def _of_errors(report: Report) -> list[TestCase]:
    named = [(variant.name, variant.error) for variant in report.variants if variant.error is not None]
    cases = []
    for variant, message in [*named, *((None, message) for message in run_errors(report))]:
        case = _case(report, variant, "made and measured" if variant is not None else "run")
        error = Error(_xml(message.partition("\n")[0]), "error")
        error.text = _xml(message)
        case.result = [error]
        cases.append(case)
    return cases


def _case(report: Report, variant: str | None, name: str) -> TestCase:
    # Dots are what test viewers make a tree of: recipe, then variant.
    classname = ".".join(part for part in (report.recipe.name, variant) if part is not None)
    return TestCase(_xml(name), _xml(classname))


def _xml(text: str) -> str:
    return _NO_XML.sub("\N{REPLACEMENT CHARACTER}", text)
