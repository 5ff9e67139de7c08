"""What the trade-off between quality, size and latency is drawn from. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from tflite_ptq.report.html.pareto import front
from tflite_ptq.result import Interval, Latency, VariantResult

Configuration = tuple[str, int]
"""Delegate and threads."""


@dataclass(frozen=True)
class Quality:
    """What counts as quality: a metric, or, where none was measured, the output's SQNR against float32 (``None``)."""

    metric: str | None
    higher_is_better: bool = True


@dataclass(frozen=True)
class Point:
    """A variant where all that a panel compares is known. ``cost`` is its place on the horizontal axis: ns or bytes.

    ``best``: no other variant of the panel is at least as good in everything compared. ``drawn_best``: in the two axes
    drawn, which is what the line joins.
    """

    variant: str
    quality: float
    quality_interval: Interval | None
    cost: float
    cost_interval: Interval | None
    size_bytes: int
    best: bool
    drawn_best: bool


@dataclass(frozen=True)
class Panel:
    """One plot: quality against the latency of ``configuration``, or against size where that is ``None``."""

    configuration: Configuration | None
    points: tuple[Point, ...]

    @property
    def best(self) -> tuple[str, ...]:
        """The variants on the Pareto front of everything compared."""
        return tuple(point.variant for point in self.points if point.best)


def configurations(variants: Sequence[VariantResult]) -> tuple[Configuration, ...]:
    """Every (delegate, threads) that a variant was timed in, in the order of the report."""
    return tuple(dict.fromkeys((x.delegate, x.threads) for variant in variants for x in variant.latency or ()))


def timing(variant: VariantResult, configuration: Configuration) -> int | None:
    """The place of ``configuration`` in the variant's ``latency``; ``None`` where it was not timed in it."""
    found = [i for i, x in enumerate(variant.latency or ()) if (x.delegate, x.threads) == configuration]
    return found[0] if found else None


def quality_of(variants: Sequence[VariantResult]) -> Quality | None:
    """The first metric of the report, else SQNR, else ``None``."""
    for variant in variants:
        for name, metric in (variant.accuracy or {}).items():
            return Quality(name, metric.higher_is_better)
    known = any(variant.fidelity is not None and variant.fidelity.sqnr_db is not None for variant in variants)
    return Quality(None) if known else None


def panels(variants: Sequence[VariantResult], quality: Quality) -> tuple[Panel, ...]:
    """One panel a configuration, then one for size; those with fewer than two points are left out."""
    asked: list[Configuration | None] = [*configurations(variants), None]
    made = (Panel(configuration, tuple(_points(variants, quality, configuration))) for configuration in asked)
    return tuple(panel for panel in made if len(panel.points) > 1)


@dataclass(frozen=True)
class _Known:
    variant: str
    quality: float
    quality_interval: Interval | None
    size_bytes: int
    latency: Latency | None

    @property
    def cost(self) -> int:
        return self.size_bytes if self.latency is None else self.latency.median_ns


def _points(
    variants: Sequence[VariantResult], quality: Quality, configuration: Configuration | None
) -> Iterator[Point]:
    known = [one for variant in variants if (one := _known(variant, quality, configuration)) is not None]
    sign = -1 if quality.higher_is_better else 1
    everything = front([(sign * one.quality, one.size_bytes, one.cost) for one in known])
    drawn = front([(sign * one.quality, one.cost) for one in known])
    for one, best, drawn_best in zip(known, everything, drawn, strict=True):
        interval = None if one.latency is None else one.latency.median_interval_ns
        yield Point(
            one.variant, one.quality, one.quality_interval, one.cost, interval, one.size_bytes, best, drawn_best
        )


def _known(variant: VariantResult, quality: Quality, configuration: Configuration | None) -> _Known | None:
    value, interval = None, None
    if quality.metric is None:
        value = None if variant.fidelity is None else variant.fidelity.sqnr_db
    elif quality.metric in (variant.accuracy or {}):
        metric = (variant.accuracy or {})[quality.metric]
        value, interval = metric.value, metric.interval
    place = None if configuration is None else timing(variant, configuration)
    if value is None or variant.size_bytes is None or (configuration is not None and place is None):
        return None
    latency = None if place is None else (variant.latency or ())[place]
    return _Known(variant.name, value, interval, variant.size_bytes, latency)
