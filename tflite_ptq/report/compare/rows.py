"""A comparison as text: one builder for the console and for Markdown. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from tflite_ptq.report import units
from tflite_ptq.report.compare.result import Comparison, Figure
from tflite_ptq.result import Interval

_LABELS = {"size_bytes": "size", "agreement": "agrees", "sqnr_db": "SQNR"}
_VERDICTS = {"unclear": "no difference shown", None: ""}
_OURS, _THEIRS = "only in the baseline", "only in the candidate"
HASH_DIGITS = 12


@dataclass(frozen=True)
class Row:
    """One figure: its name, both values, the change with its interval, and the verdict in words."""

    variant: str
    figure: str
    baseline: str
    candidate: str
    change: str
    interval: str
    verdict: str


def rows(comparison: Comparison) -> tuple[Row, ...]:
    """One row a figure, in the comparison's order; a variant that one run lacks has a single row, without figures."""
    alone = {**dict.fromkeys(comparison.missing, _OURS), **dict.fromkeys(comparison.new, _THEIRS)}
    # A dictionary keeps the first place of each.
    found = {
        (figure.variant, None if figure.variant in alone else number): figure
        for number, figure in enumerate(comparison.figures)
    }
    return tuple(
        Row(name, "", "", "", "", "", alone[name]) if name in alone else _row(figure)
        for (name, _), figure in found.items()
    )


def status(comparison: Comparison) -> str:
    """``passed`` and ``failed`` are said of limits only."""
    return comparison.status if comparison.limits else "compared"


def headline(comparison: Comparison) -> str:
    """Whether the limits hold, in words."""
    broken = sum(not check.passed for check in comparison.limits)
    if not comparison.limits:
        return "no limits given"
    return f"{broken} of {len(comparison.limits)} limits broken" if broken else "limits kept"


def differences(comparison: Comparison) -> Iterator[tuple[str, str, str]]:
    """What differs beside the figures, with its value in each run; hashes by their first digits."""
    for one in comparison.differences:
        values = (one.baseline, one.candidate)
        if one.what.endswith("(sha256)"):
            values = tuple(value and value[:HASH_DIGITS] for value in values)  # type: ignore[assignment]
        yield one.what, values[0] or units.NOT_MEASURED, values[1] or units.NOT_MEASURED


def sentences(comparison: Comparison) -> Iterator[str]:
    """Warnings, then which variants are the same file."""
    yield from comparison.warnings
    if comparison.identical:
        yield f"{', '.join(comparison.identical)}: the same file, byte for byte"


def _row(figure: Figure) -> Row:
    return Row(
        variant=figure.variant,
        figure=_label(figure),
        baseline=_value(figure, figure.baseline),
        candidate=_value(figure, figure.candidate),
        change=_change(figure, figure.change if figure.ratio is None else figure.ratio),
        interval=_interval(figure, figure.interval),
        verdict=_verdict(figure),
    )


def _verdict(figure: Figure) -> str:
    if (figure.baseline is None) is not (figure.candidate is None):
        return _OURS if figure.candidate is None else _THEIRS
    return _VERDICTS.get(figure.verdict, figure.verdict) or ""


def _label(figure: Figure) -> str:
    if figure.kind == "latency":
        delegate, _, threads = figure.name.removeprefix("median_ns[").removesuffix("]").rpartition(",")
        return f"{delegate}, {threads} thread{'s' * (threads != '1')}"
    if figure.kind == "accuracy-change":
        return f"{figure.name} against float32"
    return figure.name if figure.kind == "accuracy" else _LABELS[figure.name]


def _value(figure: Figure, value: float | None) -> str:
    if figure.kind == "size":
        return units.size(value)
    if figure.kind == "latency":
        return units.duration(value)
    if figure.kind == "fidelity":
        return units.share(value) if figure.name == "agreement" else units.decibel(value)
    shown = units.metric_value if figure.kind == "accuracy" else units.metric_change
    return shown(figure.name, value)


def _change(figure: Figure, value: float | None) -> str:
    if value is None:
        return units.NOT_MEASURED
    if figure.kind in ("size", "latency"):
        return f"{value:.3f}×"
    if figure.name == "agreement":
        return f"{round(100 * value, 2) + 0.0:+.2f} pt"
    if figure.name == "sqnr_db":
        return f"{round(value, 1) + 0.0:+.1f} dB"
    return units.metric_change(figure.name, value)


def _interval(figure: Figure, interval: Interval | None) -> str:
    return "" if interval is None else f"{_change(figure, interval.low)} to {_change(figure, interval.high)}"
