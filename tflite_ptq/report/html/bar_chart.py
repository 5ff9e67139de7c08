"""Ranked bars as a Vega-Lite specification: per-class changes, errors of layers. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from tflite_ptq.report.html.svg import Spec


def bar_chart(bars: Sequence[tuple[str, float]], axis_title: str, *, scale: tuple[float, float] | None = None) -> Spec:
    """A bar for each (label, figure), in the order given. ``scale`` is from where to where the axis goes, which has
    losses and gains: they differ in colour, and 0 is drawn."""
    rows = [{"rank": rank, "label": label, "figure": figure} for rank, (label, figure) in enumerate(bars)]
    colour: Spec = {"value": "var(--accent)"}
    if scale is not None:
        colour = {"condition": {"test": "datum.figure < 0", "value": "var(--loss)"}, "value": "var(--gain)"}
    y: Spec = {
        # By rank, not by label: two rows may bear the same label.
        "field": "rank",
        "type": "ordinal",
        "title": None,
        "axis": {"ticks": False, "labelExpr": "data('rows')[datum.value].label", "labelLimit": 150, "domain": False},
    }
    x: Spec = {"field": "figure", "type": "quantitative", "title": axis_title, "axis": {"tickCount": 5}}
    if scale is not None:
        x["scale"] = {"domain": list(scale), "nice": True}
    layers: list[Spec] = [{"mark": {"type": "bar", "height": 14}, "encoding": {"x": x, "y": y, "color": colour}}]
    if scale is not None:
        layers.append({"mark": {"type": "rule", "color": "var(--ink)"}, "encoding": {"x": {"datum": 0}}})
    return {"height": {"step": 24}, "data": {"name": "rows", "values": rows}, "layer": layers}
