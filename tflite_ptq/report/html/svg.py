"""Plots as inline SVG: the one door to vl-convert, which draws Vega-Lite specifications.

Colours in a specification are CSS variables of the page (``var(--ink)``), so a plot follows light, dark and print.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TypeAlias

from markupsafe import Markup

Spec: TypeAlias = dict[str, object]
Engine: TypeAlias = Callable[[Spec], str]
"""A whole Vega-Lite specification as the text of an SVG."""

WIDTH = 380
"""Width of every plot in its own units. Near a phone's, so that its text is read there at almost its nominal size."""

_INK, _RULE = "var(--ink)", "var(--rule)"
_AXIS: Spec = {
    "labelColor": _INK,
    "titleColor": _INK,
    "domainColor": _RULE,
    "tickColor": _RULE,
    "gridColor": _RULE,
    "labelFontSize": 13,
    "titleFontSize": 13,
    "titleFontWeight": "normal",
    "labelLimit": 120,
}
_CONFIG: Spec = {
    "aria": False,  # the picture is told once, by its title and description
    "background": None,
    "font": "sans-serif",
    "view": {"stroke": None},
    "axis": _AXIS,
    "legend": {"labelColor": _INK, "labelFontSize": 13, "labelLimit": 150, "title": None, "orient": "bottom"},
}
_ROOT = re.compile(r"<svg [^>]*?viewBox=\"([^\"]+)\"[^>]*>")


def vega_lite(spec: Spec) -> str:
    """The engine itself. Its library holds a browser's JavaScript, which takes most of a second to start."""
    import vl_convert

    drawn: str = vl_convert.vegalite_to_svg(spec)
    return drawn


def draw(engine: Engine, key: str, title: str, description: str, spec: Spec) -> Markup:
    """The Vega-Lite ``spec`` as an ``<svg>`` that fills the width there is.

    ``title`` and ``description`` are what a screen reader says; ``key`` makes the ids on the page unique.
    """
    whole: Spec = {"width": WIDTH, "autosize": {"type": "fit-x", "contains": "padding"}, "padding": 4, **spec}
    drawn = engine({**whole, "config": _CONFIG})
    root = _ROOT.match(drawn)
    assert root is not None, drawn[:200]
    start = Markup(
        '<svg class="plot" viewBox="{}" role="img" aria-labelledby="{key}-title {key}-text">'
        '<title id="{key}-title">{}</title><desc id="{key}-text">{}</desc>'
    ).format(root[1], title, description, key=key)
    # Vega escapes the texts that it draws.
    return start + Markup(drawn[root.end() :])


def warm_up() -> None:
    """Starts the drawing engine, whose first plot takes ten times as long as the next."""
    point: Spec = {
        "data": {"values": [{"x": 0}]},
        "mark": "point",
        "encoding": {"x": {"field": "x", "type": "nominal"}},
    }
    draw(vega_lite, "warm-up", "", "", point)
