"""The report as a GitHub step summary: verdict, variants, gate and errors of the Markdown report, and links. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from tflite_ptq.report import files, markdown
from tflite_ptq.report.columns import columns
from tflite_ptq.result import Report

MOST_BYTES = 1 << 20
"""What GitHub takes of one step; a longer summary it shows nothing of."""
_CUT = "\n\nCut: a step summary holds 1 MiB. The whole is in report.md.\n"


@dataclass(frozen=True)
class Where:
    """Where the run's files lie: ``folder`` as the user named it, the page of the workflow run, the recipe's page."""

    folder: str
    run_url: str | None = None
    recipe_url: str | None = None


def render(report: Report, where: Where) -> str:
    """The summary as Markdown, whole."""
    names = [markdown.code(name) for name in (files.JSON_NAME, *files.RENDERED)]
    return markdown.fill("summary.md.j2", report=report, columns=columns(report.variants), where=where, files=names)


def fitted(text: str, room_bytes: int) -> str:
    """``text``, cut at a line's end where it is longer than ``room_bytes`` as UTF-8; empty where nothing fits."""
    data = text.encode(errors="backslashreplace")
    if len(data) <= room_bytes:
        return data.decode()
    room = room_bytes - len(_CUT)
    lines = data[:room].rpartition(b"\n")[0] if room > 0 else b""
    return lines.decode() + _CUT if lines else ""
