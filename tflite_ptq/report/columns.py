"""What the tables of a report hold, as text: one builder for the console and for Markdown. Pure.

A column that no variant has a figure for is left out; within a column a missing figure is a dash.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from tflite_ptq.recipe.schema import FLOAT32
from tflite_ptq.report import units
from tflite_ptq.result import Fidelity, Latency, Metric, VariantResult

SIGNIFICANT = 0.05
"""Changes with a p-value below carry a star."""

Section = Literal["size", "accuracy", "latency"]


@dataclass(frozen=True)
class Column:
    """One column of figures; ``cells`` has one text a variant. ``header`` may hold a line break.

    ``follows`` keeps it beside the column before it: a change says nothing without its value.
    """

    section: Section
    header: str
    cells: tuple[str, ...]
    follows: bool = False


def columns(variants: Sequence[VariantResult]) -> tuple[Column, ...]:
    """All columns that hold at least one figure, in reading order: size, accuracy, latency."""
    made = (*_size(variants), *_accuracy(variants), *_fidelity(variants), *_latency(variants))
    return tuple(column for column in made if set(column.cells) != {units.NOT_MEASURED})


def _size(variants: Sequence[VariantResult]) -> list[Column]:
    float32 = next((variant.size_bytes for variant in variants if variant.name == FLOAT32), None)
    ratios = (variant.size_bytes / float32 if variant.size_bytes and float32 else None for variant in variants)
    integer = (None if variant.audit is None else variant.audit.fully_integer for variant in variants)
    return [
        Column("size", "size", tuple(units.size(variant.size_bytes) for variant in variants)),
        Column("size", "ratio", tuple(map(units.times, ratios))),
        Column("size", "integer", tuple(map(units.yes_no, integer))),
    ]


def _accuracy(variants: Sequence[VariantResult]) -> list[Column]:
    names = dict.fromkeys(name for variant in variants for name in variant.accuracy or {})
    made: list[Column] = []
    for name in names:
        metrics = [(variant.accuracy or {}).get(name) for variant in variants]
        values = (_value(name, metric) for metric in metrics)
        changes = (_change(name, metric) for metric in metrics)
        made.append(Column("accuracy", name.replace(":", ":\n"), tuple(values)))
        made.append(Column("accuracy", "change", tuple(changes), follows=True))
    return made


def _value(name: str, metric: Metric | None) -> str:
    """``98.89 % ±0.9``."""
    if metric is None:
        return units.NOT_MEASURED
    return f"{units.metric_value(name, metric.value)} {units.metric_spread(name, metric.interval)}".rstrip()


def _change(name: str, metric: Metric | None) -> str:
    """``*-1.30 pt``; the star stands before it so that the figures below each other align."""
    if metric is None:
        return units.NOT_MEASURED
    return "*" * significant(metric) + units.metric_change(name, metric.change)


def significant(metric: Metric) -> bool:
    """Whether a change so large is unlikely to be chance."""
    return metric.p_value is not None and metric.p_value < SIGNIFICANT


def _fidelity(variants: Sequence[VariantResult]) -> list[Column]:
    agreements = (None if variant.fidelity is None else variant.fidelity.agreement for variant in variants)
    return [
        Column("accuracy", "agrees", tuple(map(units.share, agreements))),
        Column("accuracy", "SQNR", tuple(sqnr(variant.fidelity) for variant in variants)),
    ]


def sqnr(fidelity: Fidelity | None) -> str:
    """The SQNR in dB, or ``identical`` where it is infinite."""
    if fidelity is None:
        return units.NOT_MEASURED
    return "identical" if fidelity.exact else units.decibel(fidelity.sqnr_db)


def _latency(variants: Sequence[VariantResult]) -> list[Column]:
    timings = [{(one.delegate, one.threads): one for one in variant.latency or ()} for variant in variants]
    made: list[Column] = []
    for delegate, threads in dict.fromkeys(key for timing in timings for key in timing):
        found = [timing.get((delegate, threads)) for timing in timings]
        made.append(Column("latency", f"{delegate}\n{threads} thread{'s' * (threads != 1)}", _timed(found)))
    return made


def no_difference_shown(timing: Latency) -> bool:
    """Whether the interval of the speedup covers 1."""
    interval = timing.speedup_interval
    return interval is not None and interval.low <= 1 <= interval.high


def _timed(timings: Sequence[Latency | None]) -> tuple[str, ...]:
    """``80.1 µs ±1%  3.25×``: median, how well it is known and speedup in one cell, each padded to one width so that
    they align. ``≈`` before a speedup: no difference shown."""
    parts = [
        ("", "", "")
        if one is None
        else (units.duration(one.median_ns), _sure(one), "" if one.speedup is None else _speedup(one))
        for one in timings
    ]
    widths = [max(map(len, column), default=0) for column in zip(*parts, strict=True)]
    return tuple(
        units.NOT_MEASURED if timing is None else _aligned(part, widths)
        for timing, part in zip(timings, parts, strict=True)
    )


def _aligned(part: tuple[str, str, str], widths: Sequence[int]) -> str:
    """The median as it is (the cell is right aligned), the others padded."""
    median, sure, speedup = part
    text = f"{median} {sure:>{widths[1]}}" if widths[1] else median
    return f"{text}  {speedup:>{widths[2]}}" if widths[2] else text


def _sure(timing: Latency) -> str:
    return "" if timing.precision is None else units.precision(timing.precision)


def _speedup(timing: Latency) -> str:
    return ("≈" if no_difference_shown(timing) else "") + units.times(timing.speedup)
