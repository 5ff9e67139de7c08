"""The trade-off between quality, size and latency, with its Pareto front, as a Vega-Lite specification. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from tflite_ptq.report import units
from tflite_ptq.report.html.scales import Unit, axis
from tflite_ptq.report.html.series import colour_scale, shape_scale
from tflite_ptq.report.html.svg import Spec
from tflite_ptq.report.html.tradeoff import Panel, Quality

_LARGEST_AREA = 420


def tradeoff_chart(panel: Panel, quality: Quality, names: Sequence[str], unit: Unit) -> Spec:
    """``names`` are all variants of the run, so that each looks alike in every plot; ``unit`` is of the costs."""
    costs = [point.cost for point in panel.points]
    what = "size" if panel.configuration is None else "median latency"
    x: Spec = {
        "field": "cost",
        "type": "quantitative",
        **axis(what, unit, costs),
    }
    share = quality.metric is not None and units.is_share(quality.metric)
    y: Spec = {
        "field": "quality",
        "type": "quantitative",
        "title": "SQNR (dB)" if quality.metric is None else f"{quality.metric} (%)" if share else quality.metric,
        "scale": {"zero": False, "nice": True, "padding": 14},
        "axis": {"tickCount": 5, "labelExpr": f"format({'100 * ' if share else ''}datum.value, '.4~g')"},
    }
    rows = [
        {
            "variant": point.variant,
            "quality": point.quality,
            "cost": point.cost / unit.factor,
            "size": point.size_bytes,
            "best": point.best,
            "drawn_best": point.drawn_best,
            "low": None if point.quality_interval is None else point.quality_interval.low,
            "high": None if point.quality_interval is None else point.quality_interval.high,
            "from": None if point.cost_interval is None else point.cost_interval.low / unit.factor,
            "to": None if point.cost_interval is None else point.cost_interval.high / unit.factor,
        }
        for point in panel.points
    ]
    shown = [point.variant for point in panel.points]
    columns = 3 if max(map(len, shown)) <= 12 else 2 if max(map(len, shown)) <= 22 else 1
    colour: Spec = {
        "field": "variant",
        "type": "nominal",
        "scale": colour_scale(names),
        "legend": {"columns": columns, "values": shown, "symbolFillColor": "transparent"},
    }
    rule: Spec = {"type": "rule", "color": "var(--muted)", "opacity": 0.6}
    return {
        "height": 250,
        "data": {"values": rows},
        "layer": [
            {
                "transform": [{"filter": "datum.drawn_best"}],
                "mark": {"type": "line", "interpolate": "step-after", "color": "var(--front)", "strokeWidth": 3},
                "encoding": {"x": x, "y": y, "order": {"field": "cost"}},
            },
            {
                "transform": [{"filter": "isValid(datum.low)"}],
                "mark": rule,
                "encoding": {"x": x, "y": {**y, "field": "low"}, "y2": {"field": "high"}},
            },
            {
                "transform": [{"filter": "isValid(datum.from)"}],
                "mark": rule,
                "encoding": {"x": {**x, "field": "from"}, "x2": {"field": "to"}, "y": y},
            },
            {
                "mark": {"type": "point", "strokeWidth": 2, "opacity": 1},
                "encoding": {
                    "x": x,
                    "y": y,
                    "color": colour,
                    "shape": {"field": "variant", "type": "nominal", "scale": shape_scale(names)},
                    "size": {
                        "field": "size",
                        "type": "quantitative",
                        "scale": {
                            "domain": [0, max(point.size_bytes for point in panel.points)],
                            "range": [0, _LARGEST_AREA],
                        },
                        "legend": None,
                    },
                    "fill": {
                        "condition": {"test": "!datum.best", "value": "var(--paper)"},
                        "field": "variant",
                        "type": "nominal",
                        "scale": colour_scale(names),
                        "legend": None,
                    },
                },
            },
        ],
    }
