"""Latency distributions of one configuration as a Vega-Lite specification. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from tflite_ptq.report.html.scales import Unit, axis
from tflite_ptq.report.html.series import colour_scale
from tflite_ptq.report.html.svg import Spec
from tflite_ptq.result import Latency


def latency_chart(timings: Sequence[tuple[str, Latency]], names: Sequence[str], unit: Unit) -> Spec:
    """One row a variant: box from the 25th to the 75th percentile, line from the 5th to the 95th, median, and the
    median of each process as a dot. Without percentiles: a line from the median to the 99th, the 90th marked.

    ``names`` are all variants of the run.
    """
    shapes = [_shape(latency) for _, latency in timings]
    medians = [(name, median) for name, latency in timings for median in latency.process_medians_ns]
    figures = [*(figure for shape in shapes for figure in shape.values()), *(median for _, median in medians)]
    rows = [
        {"variant": name, **{key: figure / unit.factor for key, figure in shape.items()}}
        for (name, _), shape in zip(timings, shapes, strict=True)
    ]
    processes = [{"variant": name, "median": median / unit.factor} for name, median in medians]
    x: Spec = {"type": "quantitative", **axis("latency of one inference", unit, figures)}
    y: Spec = {"field": "variant", "type": "nominal", "title": None, "sort": None, "axis": {"ticks": False}}
    colour: Spec = {"field": "variant", "type": "nominal", "scale": colour_scale(names), "legend": None}
    layers: list[Spec] = [
        {
            "mark": {"type": "rule", "strokeWidth": 2},
            "encoding": {"x": {**x, "field": "low"}, "x2": {"field": "high"}, "color": colour},
        },
        {
            "transform": [{"filter": "isValid(datum.lower)"}],
            "mark": {"type": "bar", "height": 14, "stroke": "var(--paper)"},
            "encoding": {"x": {**x, "field": "lower"}, "x2": {"field": "upper"}, "color": colour},
        },
        {
            "mark": {"type": "tick", "thickness": 2, "height": 20, "color": "var(--ink)"},
            "encoding": {"x": {**x, "field": "median"}},
        },
        {
            "transform": [{"filter": "isValid(datum.p90)"}],
            "mark": {"type": "tick", "thickness": 2, "height": 10},
            "encoding": {"x": {**x, "field": "p90"}, "color": colour},
        },
        {
            "data": {"values": processes},
            "mark": {"type": "circle", "size": 14, "color": "var(--ink)", "yOffset": 13, "opacity": 1},
            "encoding": {"x": {**x, "field": "median"}, "y": y},
        },
    ]
    return {"height": {"step": 34}, "data": {"values": rows}, "encoding": {"y": y}, "layer": layers}


def _shape(latency: Latency) -> dict[str, float]:
    known = latency.percentiles_ns
    if not {"5", "25", "75", "95"} <= known.keys():
        low_high = {"low": latency.median_ns, "high": latency.p99_ns}
        return {**low_high, "median": latency.median_ns, "p90": latency.p90_ns}
    return {
        "low": known["5"],
        "lower": known["25"],
        "median": latency.median_ns,
        "upper": known["75"],
        "high": known["95"],
    }
