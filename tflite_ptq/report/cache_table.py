"""What the cache holds, as a table."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from rich.console import Console
from rich.text import Text

from tflite_ptq.report import units
from tflite_ptq.report.tables import plain_table


def render(folder: str, most_bytes: int, held: Sequence[tuple[str, int, float]], console: Console) -> None:
    """Print the folder, its limit, and a line a kind; ``held`` are kind, bytes and last use (s since the epoch)."""
    console.print(Text(folder), soft_wrap=True)
    total = sum(size_bytes for _, size_bytes, _ in held)
    console.print(f"{len(held)} entries, {units.size(total)} of at most {units.size(most_bytes)}")
    if not held:
        return
    table = plain_table()
    table.add_column("kind")
    for header in ("entries", "size", "last used"):
        table.add_column(header, justify="right")
    for kind in sorted({kind for kind, _, _ in held}):
        of_kind = [(size_bytes, used) for other, size_bytes, used in held if other == kind]
        last = datetime.fromtimestamp(max(used for _, used in of_kind)).strftime("%Y-%m-%d %H:%M")
        table.add_row(kind, str(len(of_kind)), units.size(sum(size_bytes for size_bytes, _ in of_kind)), last)
    console.print()
    console.print(table)
