"""The report as GitHub-flavoured Markdown, through the templates ``*.md.j2``."""

from __future__ import annotations

import re
from functools import cache

from jinja2 import Environment

from tflite_ptq.report import units
from tflite_ptq.report.class_tables import MOST_REGRESSIONS, class_table, classified, confusions
from tflite_ptq.report.columns import columns, sqnr
from tflite_ptq.report.doubts import doubts
from tflite_ptq.report.legend import legend
from tflite_ptq.report.templates import environment
from tflite_ptq.result import Report, TensorInfo

MOST_FLOAT_OPS = 10
_SPECIAL = re.compile(r"([\\`*_\[\]<>|~#])")


def render(report: Report) -> str:
    """The whole report: verdict, figures, gate, findings, latency and audit in detail, environment, durations."""
    return fill(
        "report.md.j2",
        report=report,
        columns=columns(report.variants),
        most_regressions=MOST_REGRESSIONS,
        most_float_ops=MOST_FLOAT_OPS,
    )


def fill(template: str, **values: object) -> str:
    """A template of this folder, given the values it asks for."""
    return _environment().get_template(template).render(dash=units.NOT_MEASURED, **values)


def load() -> None:
    """Loads the templates of a report."""
    for name in ("report.md.j2", "accuracy.md.j2"):
        _environment().get_template(name)


@cache
def _environment() -> Environment:
    # The result is Markdown, so HTML escaping would show; ``plain`` and ``code`` escape what Markdown reads.
    made = environment("tflite_ptq.report", autoescape=False)
    made.filters.update(
        plain=plain,
        code=code,
        size=units.size,
        duration=units.duration,
        times=units.times,
        times_interval=units.times_interval,
        duration_interval=units.duration_interval,
        counts=units.counts,
        doubts=doubts,
        legend=legend,
        yes_no=units.yes_no,
        check_limit=units.check_limit,
        check_measured=units.check_measured,
        sqnr=sqnr,
        tensor=_tensor,
        metric_value=units.metric_value,
        metric_change=units.metric_change,
        metric_interval=units.metric_interval,
        change_interval=units.change_interval,
        probability=units.probability,
        class_table=class_table,
        classified=classified,
        confusions=confusions,
    )
    return made


def plain(text: object) -> str:
    """Any text so that Markdown shows it as it stands, in a table cell too (a line break becomes ``<br>``)."""
    escaped = _SPECIAL.sub(r"\\\1", str(text).strip().replace("&", "&amp;"))
    return "<br>".join(" ".join(line.split()) for line in escaped.splitlines())


def code(text: object) -> str:
    """A code span; a pipe is escaped because a table is split into cells before spans are found."""
    line = " ".join(str(text).split())
    if not line:
        return ""
    # A span is closed by a run of as many backticks as opened it: one more than the longest inside is safe.
    fence = "`" * (1 + max(map(len, re.findall("`+", line)), default=0))
    space = " " if line.startswith("`") or line.endswith("`") else ""
    return f"{fence}{space}{line}{space}{fence}".replace("|", "\\|")


def _tensor(tensor: TensorInfo) -> str:
    text = f"{code(tensor.name)} {tensor.dtype} ({', '.join(map(str, tensor.shape))})"
    if tensor.scale is not None:
        text += f", scale {tensor.scale:.6g}, zero point {tensor.zero_point}"
    return text
