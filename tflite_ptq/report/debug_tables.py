"""``debug`` on a console: layers by the error they bring, trials, advice. Readable at 80 columns."""

from __future__ import annotations

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from tflite_ptq.debug_result import Closeness, DebugReport, LayerDebug
from tflite_ptq.report import units
from tflite_ptq.report.debug_advice import gain_db
from tflite_ptq.report.tables import plain_table
from tflite_ptq.report.units import NOT_MEASURED

SHOWN = 20
_MEANINGS = (
    "share: its part of the noise that all layers bring, each quantized alone.",
    "alone: SQNR of the outputs in dB with only this layer quantized; low is bad.",
    "spare: dB gained when this layer stays float; its neighbours still hand it int8.",
    "out, weights: SQNR in dB of its output (noise from before included) and weights.",
    "clip: share of its output's values cut off at the int8 limits.",
)


def render(report: DebugReport, console: Console, folder: str, names: tuple[str, ...]) -> None:
    """Prints the report; ``names`` are the files written to ``folder``."""
    console.print(
        Text(f"{report.recipe.name}, {report.variant}: ", style="bold").append(
            f"{_db(report.whole)} output SQNR against float32 on {report.samples} {report.subset} samples, "
            f"activation ranges by {report.method}, without bias correction",
            style="not bold",
        )
    )
    console.print()
    console.print(_layers(report.layers[:SHOWN]))
    if len(report.layers) > SHOWN:
        console.print(Text(f"and {len(report.layers) - SHOWN} layers more, in debug.json", style="dim"))
    for meaning in _MEANINGS:
        console.print(Text(meaning, style="dim"))
    trials = _trials(report)
    if trials.row_count:
        console.print()
        console.print(trials)
    console.print()
    console.print(Text("Advice", style="bold"))
    for advice in report.advice:
        grid = Table.grid(padding=(0, 1))
        grid.add_column(width=2, justify="right")
        grid.add_column(overflow="fold")
        grid.add_row("-", Text(advice.text))
        console.print(grid)
        if advice.yaml is not None:
            # Not wrapped by us: it is to be copied.
            console.print(Text(f"     {advice.yaml}", style="cyan"), soft_wrap=True)
    console.print()
    console.print(Text(f"Files in {folder}:"), soft_wrap=True)
    console.print(Padding(Text(", ".join(names)), (0, 0, 0, 2)))
    console.print(Text("  Model Explorer shows model-explorer-*.json as node data over either .tflite.", style="dim"))


def _layers(layers: tuple[LayerDebug, ...]) -> Table:
    table = plain_table()
    table.add_column("#", justify="right", no_wrap=True)
    table.add_column("layer", overflow="fold", min_width=16)
    for header in ("share", "alone", "spare", "out", "weights", "clip"):
        table.add_column(header, justify="right", no_wrap=True)
    for rank, layer in enumerate(layers, start=1):
        clipped = layer.output.clipped
        name = Text(layer.label).append(f"\n{layer.op}", style="dim")
        table.add_row(
            str(rank),
            name,
            units.share(layer.error_share),
            _number(layer.alone),
            NOT_MEASURED if layer.gain_db is None else units.signed(layer.gain_db),
            _number(layer.output.closeness),
            _decibels(layer.weight_sqnr_db),
            NOT_MEASURED if clipped is None else units.small_share(clipped),
        )
    return table


def _trials(report: DebugReport) -> Table:
    table = plain_table()
    table.add_column("tried on the whole model", overflow="fold")
    table.add_column("SQNR dB", justify="right", no_wrap=True)
    table.add_column("gain", justify="right", no_wrap=True)

    def row(what: str, closeness: Closeness) -> None:
        gain = gain_db(closeness, report.whole)
        error = f" ({closeness.error})" if closeness.error else ""
        table.add_row(Text(what + error), _number(closeness), NOT_MEASURED if gain is None else units.signed(gain))

    for exclusion in report.exclusions:
        row(f"float: {', '.join(exclusion.exclude)}", exclusion.closeness)
    for method in report.methods:
        row(f"calibration method {method.method}", method.closeness)
    for weights in report.weights:
        row(f"weights {weights.way}", weights.closeness)
    if report.correction.closeness is not None:
        row(f"bias correction {report.correction.method or '(none kept)'}", report.correction.closeness)
    return table


def _number(closeness: Closeness | None) -> str:
    if closeness is None:
        return NOT_MEASURED
    if closeness.non_finite:
        return "NaN"
    return "exact" if closeness.exact else _decibels(closeness.sqnr_db)


def _decibels(value: float | None) -> str:
    """Without the unit, which the column's meaning has."""
    return units.decibel(value).removesuffix(" dB")


def _db(closeness: Closeness) -> str:
    if closeness.exact:
        return "infinite"
    if closeness.non_finite:
        return "NaN or infinity in the outputs instead of"
    return "unknown" if closeness.sqnr_db is None else units.decibel(closeness.sqnr_db)
