"""A comparison as GitHub-flavoured Markdown, for a pull request's comment or a step summary. Pure."""

from __future__ import annotations

from tflite_ptq.report import markdown
from tflite_ptq.report.compare import rows
from tflite_ptq.report.compare.result import Comparison


def render(comparison: Comparison) -> str:
    """Verdict, limits, figures, what differs and the warnings."""
    return markdown.fill(
        "compare/compare.md.j2",
        comparison=comparison,
        status=rows.status(comparison),
        headline=rows.headline(comparison),
        rows=rows.rows(comparison),
        sure=any(row.interval for row in rows.rows(comparison)),
        differences=list(rows.differences(comparison)),
        sentences=list(rows.sentences(comparison)),
    )
