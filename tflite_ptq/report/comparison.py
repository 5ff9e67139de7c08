"""What ``tflite-ptq benchmark`` prints: the files side by side, in the same tables as a report's."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console

from tflite_ptq.report.console import print_findings, print_variants, print_warnings
from tflite_ptq.result import VariantResult


def render_benchmark(rows: Sequence[VariantResult], console: Console, warnings: Sequence[str] = ()) -> None:
    """Print the figures of ``rows`` (``name`` is the file's name), then warnings, notes and errors.

    ``speedup``, where it is given, is taken to be against the first row.
    """
    print_variants(rows, console, yardstick="the first file")
    print_warnings(rows, warnings, console)
    print_findings(rows, (), console)
