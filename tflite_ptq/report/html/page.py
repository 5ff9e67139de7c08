"""``report.html``: the templates beside this file, filled with a run's report. One file, no network."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable
from functools import cache, partial
from importlib.resources import files as resources

from jinja2 import Environment
from markupsafe import Markup

from tflite_ptq.recipe.schema import FLOAT32
from tflite_ptq.report import units
from tflite_ptq.report.class_tables import class_order
from tflite_ptq.report.columns import no_difference_shown, significant
from tflite_ptq.report.debug_beside import SOURCE, DebugBeside
from tflite_ptq.report.doubts import doubts
from tflite_ptq.report.html import plots, svg, tradeoff
from tflite_ptq.report.html.figures import NONE, Figures
from tflite_ptq.report.legend import approximate, starred
from tflite_ptq.report.templates import environment
from tflite_ptq.report.verdict import reasons
from tflite_ptq.result import GateCheck, Report

MOST_CLASS_ROWS = 50
MOST_LAYER_ROWS = 40
MOST_CONFUSED = 20


def render(report: Report, debug: DebugBeside, engine: svg.Engine = svg.vega_lite) -> str:
    """The whole page. What was not measured is left out or a dash; every text is escaped.

    ``engine`` draws the plots that do not depend on timings: one that keeps them finds them again.
    """
    page = _environment()
    quality = tradeoff.quality_of(report.variants)
    script = _own("page.js")
    names = [variant.name for variant in report.variants]
    page.globals.update(
        report=report,
        debug=debug,
        run=Figures(report),
        layer=None if debug.report is None else Figures(debug.report, SOURCE),
        units=units,
        dash=NONE,
        reasons=reasons(report),
        yardstick=names.index(FLOAT32) if FLOAT32 in names else None,
        metric_value=_metric_value,
        metric_change=_metric_change,
        limit=_limit,
        measured=_measured,
        configurations=tradeoff.configurations(report.variants),
        configuration_text=plots.configuration_text,
        timing=tradeoff.timing,
        quality=quality,
        tradeoff_plots=() if quality is None else plots.tradeoff_plots(report, quality),
        doubts=doubts(report.variants),
        latency_plots=plots.latency_plots(report),
        class_plots=plots.class_plots(report),
        class_order=class_order(report.variants, MOST_CLASS_ROWS),
        layer_plot=None if debug.report is None else plots.layer_plot(debug.report),
        drawn=partial(_drawn, engine),
        significant=significant,
        starred=starred(report.variants),
        approximate=approximate(report.variants),
        no_difference_shown=no_difference_shown,
        most_layer_rows=MOST_LAYER_ROWS,
        most_confused=MOST_CONFUSED,
        most_panels=plots.MOST_PANELS,
        style=Markup(_own("page.css")),
        script=Markup(script),
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
    )
    return page.get_template("page.html.j2").render()


def load() -> None:
    """Loads the templates."""
    page = _environment()
    for name in page.list_templates(extensions=("j2",)):
        page.get_template(name)


def _drawn(engine: svg.Engine, plot: plots.Plot) -> Markup:
    return svg.draw(svg.vega_lite if plot.timed else engine, plot.key, plot.title, plot.description, plot.spec)


@cache
def _environment() -> Environment:
    return environment("tflite_ptq.report.html", autoescape=True)


def _own(name: str) -> str:
    return (resources("tflite_ptq.report.html") / name).read_text(encoding="utf-8")


def _metric_value(metric: str) -> Callable[[float], str]:
    return partial(units.metric_value, metric)


def _metric_change(metric: str) -> Callable[[float], str]:
    return partial(units.metric_change, metric)


def _limit(check: GateCheck) -> Callable[[object], str]:
    return lambda _: units.check_bound(check)


def _measured(check: GateCheck) -> Callable[[object], str]:
    return lambda _: units.check_measured(check)
