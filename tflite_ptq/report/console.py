"""The report on a terminal or in a pipe: verdict, figures, gate, findings, files. Reads only ``result``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import PurePath

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from tflite_ptq.recipe.schema import FLOAT32
from tflite_ptq.report import units
from tflite_ptq.report.doubts import doubts
from tflite_ptq.report.files import NAMES, TIMINGS_NAME
from tflite_ptq.report.legend import legend
from tflite_ptq.report.outcome_folder import MANIFEST_NAME
from tflite_ptq.report.tables import plain_table, variant_tables
from tflite_ptq.report.verdict import reasons
from tflite_ptq.result import GateCheck, Report, VariantResult

_STYLES = {"passed": "bold green", "failed": "bold red", "error": "bold red"}


def render(report: Report, console: Console, folder: str) -> None:
    """Print what a person wants to know first; ``folder`` is where the files of the run are."""
    console.print(_headline(report))
    print_variants(report.variants, console)
    if report.gate:
        console.print()
        console.print(gate_table(report.gate))
    print_warnings(report.variants, report.warnings, console)
    print_findings(report.variants, report.errors, console)
    if report.dataset is not None and report.dataset.findings:
        console.print()
        console.print(Text("Calibration samples", style="bold"))
        for finding in report.dataset.findings:
            print_finding("", units.brief(finding), console)
    _print_skipped(report, console)
    if report.cached:
        console.print()
        console.print(Text(f"From the cache: {', '.join(report.cached)}", style="dim"))
    console.print()
    names = [PurePath(variant.file).name for variant in report.variants if variant.file is not None]
    # Soft wrap: a path that the terminal, not we, breaks can still be copied whole.
    console.print(Text(f"Files in {folder}:"), soft_wrap=True)
    if any(variant.latency for variant in report.variants):
        names.append(TIMINGS_NAME)
    console.print(Padding(Text(", ".join([*names, *NAMES, MANIFEST_NAME])), (0, 0, 0, 2)))


def print_variants(variants: Sequence[VariantResult], console: Console, yardstick: str = FLOAT32) -> None:
    """Print the figures of all variants and what they mean; ``yardstick`` is what speedups are against."""
    for table in variant_tables(variants, console):
        console.print()
        console.print(table)
    for meaning in legend(variants, yardstick):
        console.print(Text(meaning, style="dim"))


def print_warnings(variants: Sequence[VariantResult], warnings: Sequence[str], console: Console) -> None:
    """Print why figures are to be doubted: all of them (``warnings``), then which of them, each doubt once."""
    found = doubts(variants)
    if not warnings and not found:
        return
    console.print()
    console.print(Text("Warnings", style="bold yellow"))
    for warning in warnings:
        print_finding("", warning, console)
    for doubt in found:
        print_finding(doubt.places, doubt.reason, console)


def print_findings(variants: Sequence[VariantResult], errors: Sequence[str], console: Console) -> None:
    """Print the notes and errors of all variants and the errors of the run, whole."""
    notes = [(variant.name, note) for variant in variants for note in variant.notes]
    failed = [(variant.name, variant.error) for variant in variants if variant.error is not None]
    # The pipeline may list a variant's error among the run's too: once is enough for a reader.
    failed += [("", error) for error in errors if error not in {text for _, text in failed}]
    for title, style, findings in (("Notes", "bold", notes), ("Errors", "bold red", failed)):
        if findings:
            console.print()
            console.print(Text(title, style=style))
            for name, finding in findings:
                print_finding(name, finding, console)


def print_finding(name: str, finding: str, console: Console) -> None:
    """Print one sentence as a list's entry; ``name``, where given, says what it is about."""
    # A grid gives wrapped lines a hanging indent; the bullet is ASCII because pipes may not be UTF-8.
    grid = Table.grid(padding=(0, 1))
    grid.add_column(width=2, justify="right")
    grid.add_column(overflow="fold")
    text = Text(f"{name}: ", style="bold") if name else Text()
    grid.add_row("-", text.append(Text(finding.removeprefix(f"{name}: "), style="not bold")))
    console.print(grid)


def _headline(report: Report) -> Text:
    text = Text(report.status.upper(), style=_STYLES[report.status])
    return text.append(Text(f" {report.recipe.name}: {reasons(report)}", style="not bold default"))


def gate_table(checks: Sequence[GateCheck]) -> Table:
    """Limits with what was measured and the verdict."""
    table = plain_table()
    table.add_column("gate", no_wrap=True)
    for header in ("variant", "check", "limit"):
        table.add_column(header, overflow="fold")
    table.add_column("measured", justify="right", no_wrap=True)
    for check in checks:
        verdict = Text("pass", style="green") if check.passed else Text("FAIL", style="bold red")
        cells = (check.variant, check.check, units.check_limit(check), units.check_measured(check))
        table.add_row(verdict, *map(Text, cells))
    return table


def _print_skipped(report: Report, console: Console) -> None:
    skipped = report.dataset.skipped if report.dataset is not None else ()
    if skipped:
        console.print()
        console.print(Text(f"Skipped samples ({len(skipped)})", style="bold"))
        for sample in skipped[:5]:
            print_finding(sample.sample, sample.reason, console)
        if len(skipped) > 5:
            console.print(Text(f"   and {len(skipped) - 5} more, all in report.json"))
