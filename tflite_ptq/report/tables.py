"""Columns of figures as rich tables that fit the width there is."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from rich import box
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from tflite_ptq.report.columns import Column, columns
from tflite_ptq.result import VariantResult

_PADDING = 2
_FOLDED_NAME = 16


def variant_tables(variants: Sequence[VariantResult], console: Console) -> Iterator[Table]:
    """One table where it fits; else size and accuracy first and latency after it, each broken again if it must.

    No figure is ever cut: names fold on several lines and columns move to a further table instead.
    """
    shown = columns(variants)
    longest = max((cell_len(variant.name) for variant in variants), default=0)
    # A long name is folded where that saves a table, but not to shreds.
    least = max(min(longest, _FOLDED_NAME), len("variant"))
    most = max(min(longest, console.width // 3), least)
    layouts = [(width, _packed(shown, console.width - width - _PADDING)) for width in range(most, least - 1, -1)]
    # min keeps the first, widest one among those with equally few tables.
    name_width, groups = min(layouts, key=lambda layout: len(layout[1]))
    for group in groups:
        yield _table(variants, group, name_width)


def plain_table() -> Table:
    """An empty table in the style of all: a rule below the header, two cells between columns."""
    # One cell is padding, the other the box's own (blank) divider.
    return Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0), header_style="bold", show_edge=False)


def _packed(shown: Sequence[Column], room: int) -> list[list[Column]]:
    if sum(map(_width, shown)) <= room:
        return [list(shown)]
    groups: list[list[Column]] = []
    for latency in (False, True):
        group: list[Column] = []
        for together in _inseparable(column for column in shown if (column.section == "latency") is latency):
            if group and sum(map(_width, (*group, *together))) > room:
                groups.append(group)
                group = []
            group.extend(together)
        if group:
            groups.append(group)
    return groups


def _inseparable(shown: Iterable[Column]) -> list[list[Column]]:
    groups: list[list[Column]] = []
    for column in shown:
        if column.follows and groups:
            groups[-1].append(column)
        else:
            groups.append([column])
    return groups


def _width(column: Column) -> int:
    return max(map(cell_len, (*column.header.splitlines(), *column.cells))) + _PADDING


def _table(variants: Sequence[VariantResult], shown: Sequence[Column], name_width: int) -> Table:
    table = plain_table()
    table.add_column("variant", width=name_width, overflow="fold", vertical="bottom")
    for column in shown:
        table.add_column(Text(column.header), justify="right", no_wrap=True)
    for row, variant in enumerate(variants):
        style = "red" if variant.error is not None else ""
        table.add_row(Text(variant.name), *(Text(column.cells[row]) for column in shown), style=style)
    return table
