"""The verdict of a run in words. Pure."""

from __future__ import annotations

from tflite_ptq.result import Report


def reasons(report: Report) -> str:
    """Why the status is what it is: ``1 of 4 variants with errors, 2 of 3 gate limits broken``."""
    broken = sum(not check.passed for check in report.gate)
    found = []
    if report.status == "error":
        lost = sum(variant.error is not None for variant in report.variants)
        found.append(f"{lost} of {len(report.variants)} variants with errors" if lost else "the run met an error")
    if report.gate:
        found.append(f"{broken} of {len(report.gate)} gate limits broken" if broken else "gate kept")
    elif report.status == "passed":
        found.append("no gate in the recipe")
    return ", ".join(found)
