"""A comparison on a terminal or in a pipe: verdict, what differs, figures, limits, warnings."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table
from rich.text import Text

from tflite_ptq.report import units
from tflite_ptq.report.compare import rows
from tflite_ptq.report.compare.result import Comparison
from tflite_ptq.report.console import gate_table, print_finding
from tflite_ptq.report.tables import plain_table

_VERDICTS = {"passed": "bold green", "failed": "bold red", "compared": "bold"}
_STYLES = {"better": "green", "worse": "red", "no difference shown": "dim", "same": "dim"}


def render(comparison: Comparison, console: Console) -> None:
    """Print the comparison; no figure is cut at any width."""
    verdict = Text(rows.status(comparison).upper(), style=_VERDICTS[rows.status(comparison)])
    console.print(verdict.append(Text(f" {rows.headline(comparison)}", style="not bold default")))
    for what, side in (("Baseline", comparison.baseline), ("Candidate", comparison.candidate)):
        console.print(Text(f"{what:<9} {side.run}: {side.recipe}, {side.status}"), soft_wrap=True)
    found = list(rows.differences(comparison))
    if found:
        table = plain_table()
        for header in ("differs", "baseline", "candidate"):
            table.add_column(header, overflow="fold")
        for cells in found:
            table.add_row(*map(Text, cells))
        console.print()
        console.print(table)
    console.print()
    console.print(_figures(comparison))
    if comparison.limits:
        console.print()
        console.print(gate_table(comparison.limits))
    console.print()
    for sentence in rows.sentences(comparison):
        print_finding("", units.brief(sentence), console)


def _figures(comparison: Comparison) -> Table:
    table = plain_table()
    table.add_column("variant", overflow="fold")
    table.add_column("figure", overflow="fold")
    for header in ("baseline", "candidate", "change"):
        table.add_column(header, justify="right", no_wrap=True)
    found = rows.rows(comparison)
    sure = any(row.interval for row in found)
    if sure:
        table.add_column("interval", justify="right", overflow="fold")
    table.add_column("", overflow="fold")
    last = None
    for row in found:
        cells = [row.baseline, row.candidate, row.change, *([row.interval] if sure else [])]
        name = row.variant if row.variant != last else ""
        verdict = Text(row.verdict, style=_STYLES.get(row.verdict, ""))
        table.add_row(Text(name), Text(row.figure), *map(Text, cells), verdict)
        last = row.variant
    return table
