"""Complaints as GitHub annotations: workflow commands that the runner finds in a step's output. Pure.

Format and escapes: ``src/Runner.Common/ActionCommand.cs`` of actions/runner. The runner reads the standard error as it
reads the standard output.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence

from tflite_ptq.report.complaints import Complaint

_PLACED = re.compile(r"(?P<file>[^:\n]+):(?P<line>[1-9][0-9]*):(?:[0-9]+:)? (?P<text>.+)")


def of_complaints(complaints: Sequence[Complaint], recipe: str) -> tuple[str, ...]:
    """One ``::error`` command a complaint, at its line of the file ``recipe``."""
    return tuple(
        command(complaint.message, title=_title(complaint), file=recipe, line=complaint.line)
        for complaint in complaints
    )


def of_message(message: str, from_root: Callable[[str], str]) -> Iterator[str]:
    """The commands for a user error's message; each of its lines that begins with ``file:line:`` at that place.

    ``from_root`` turns the path in a message into the one from the repository's root.
    """
    lines = message.splitlines()
    if not any(map(_PLACED.fullmatch, lines)):
        yield command(message, title="tflite-ptq")
        return
    for line in lines:
        placed = _PLACED.fullmatch(line)
        if placed is None:
            yield command(line, title="tflite-ptq")
        else:
            yield command(placed["text"], title="tflite-ptq", file=from_root(placed["file"]), line=int(placed["line"]))


def command(message: str, *, title: str, file: str | None = None, line: int | None = None) -> str:
    """``::error file=...,line=...,title=...::message``, in one line whatever the values hold."""
    properties = {"file": file, "line": line, "title": title}
    written = ",".join(f"{key}={_property(str(value))}" for key, value in properties.items() if value is not None)
    return f"::error {written}::{_data(message)}"


def _title(complaint: Complaint) -> str:
    return " ".join(("tflite-ptq:", *filter(None, (complaint.variant, complaint.check))))


def _data(text: str) -> str:
    # Percent first: what the others put in must stay.
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")
