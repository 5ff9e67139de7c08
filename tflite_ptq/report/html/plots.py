"""The plots of a report, each where there is something to draw. Pure: the page draws them."""

from __future__ import annotations

from dataclasses import dataclass

from tflite_ptq.debug_result import DebugReport
from tflite_ptq.report import units
from tflite_ptq.report.class_tables import class_order, classified
from tflite_ptq.report.html.bar_chart import bar_chart
from tflite_ptq.report.html.latency_chart import latency_chart
from tflite_ptq.report.html.scales import Unit, size_unit, time_unit
from tflite_ptq.report.html.svg import Spec
from tflite_ptq.report.html.tradeoff import Configuration, Panel, Quality, configurations, panels, timing
from tflite_ptq.report.html.tradeoff_chart import tradeoff_chart
from tflite_ptq.result import Report

MOST_PANELS = 4
MOST_CLASSES = 16
MOST_LAYERS = 12


@dataclass(frozen=True)
class Plot:
    """A specification with its heading; ``caption`` is what it shows, in words.

    ``key``, ``title`` and ``description`` are as in ``svg.draw``; ``timed``: no other run's will be the same.
    """

    heading: str
    caption: str
    key: str
    title: str
    description: str
    spec: Spec
    timed: bool = False


def configuration_text(configuration: Configuration) -> str:
    """``xnnpack, 2 threads``."""
    delegate, threads = configuration
    return f"{delegate}, {threads} thread{'s' * (threads != 1)}"


def tradeoff_plots(report: Report, quality: Quality) -> tuple[Plot, ...]:
    """Quality against latency in the first configurations, then against size."""
    found = panels(report.variants, quality)
    timed = [panel for panel in found if panel.configuration is not None][:MOST_PANELS]
    made = []
    for number, panel in enumerate([*timed, *(panel for panel in found if panel.configuration is None)]):
        heading = "Size" if panel.configuration is None else f"Latency, {configuration_text(panel.configuration)}"
        caption = f"On the Pareto front: {', '.join(panel.best)}."
        unit = _size_unit(panel) if panel.configuration is None else _time_unit(report)
        spec = tradeoff_chart(panel, quality, [variant.name for variant in report.variants], unit)
        title = f"{quality.metric or 'SQNR'} against {heading[0].lower()}{heading[1:]}"
        made.append(Plot(heading, caption, f"tradeoff-{number}", title, caption, spec, panel.configuration is not None))
    return tuple(made)


def latency_plots(report: Report) -> tuple[Plot, ...]:
    """The distributions of the first configurations."""
    made = []
    for number, configuration in enumerate(configurations(report.variants)[:MOST_PANELS]):
        timings = [
            (variant.name, (variant.latency or ())[place])
            for variant in report.variants
            if (place := timing(variant, configuration)) is not None
        ]
        heading = configuration_text(configuration)
        medians = ", ".join(f"{name} {units.duration(latency.median_ns)}" for name, latency in timings)
        spec = latency_chart(timings, [variant.name for variant in report.variants], _time_unit(report))
        told = f"Medians: {medians}."
        made.append(Plot(heading, "", f"latency-{number}", f"Latency, {heading}", told, spec, timed=True))
    return tuple(made)


def _time_unit(report: Report) -> Unit:
    """One for all plots of latencies: they stand beside each other."""
    return time_unit([timing.median_ns for variant in report.variants for timing in variant.latency or ()])


def _size_unit(panel: Panel) -> Unit:
    return size_unit([point.cost for point in panel.points])


def class_plots(report: Report) -> tuple[Plot, ...]:
    """The change of each class's recall, a plot for each variant where one changed: the same classes on one scale."""
    known = classified(report.variants)
    labels = {place: one.name for _, classes in known for place, one in enumerate(classes.classes)}
    points = {
        name: {place: 100 * one.change for place, one in enumerate(classes.classes) if one.change}
        for name, classes in known
    }
    rows = [
        place
        for place in class_order(report.variants, MOST_CLASSES)
        if any(place in found for found in points.values())
    ]
    figures = [found.get(place, 0.0) for found in points.values() for place in rows]
    made = []
    for number, (name, found) in enumerate(points.items()):
        changed = [f"{labels[place]} {found[place]:+.2f} pt" for place in rows if place in found]
        if changed:
            bars = [(labels[place], found.get(place, 0.0)) for place in rows]
            spec = bar_chart(bars, "change of recall (pt)", scale=(min(0.0, *figures), max(0.0, *figures)))
            title = f"Change of recall by class, {name}"
            made.append(Plot(name, "", f"classes-{number}", title, f"{', '.join(changed)}.", spec))
    return tuple(made)


def layer_plot(debug: DebugReport) -> Plot | None:
    """The layers that bring most of the error; ``None`` where no share is known."""
    shares = [(layer.label, layer.error_share) for layer in debug.layers[:MOST_LAYERS]]
    bars = [(label, 100 * share) for label, share in shares if share is not None]
    if not bars:
        return None
    told = ", ".join(f"{label} {share:.1f} %" for label, share in bars)
    title = f"Error by layer, {debug.variant}"
    return Plot(title, "", "layers", title, f"{told}.", bar_chart(bars, "share of the noise (%)"))
