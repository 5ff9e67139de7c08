"""Where reports are printed: a terminal, or a pipe whose reader gets no blanks at the ends of lines."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from rich.console import Console


@contextmanager
def printing() -> Iterator[Console]:
    """A console on the standard output."""
    from rich.console import Console

    console = Console(highlight=False)
    if console.is_terminal:
        yield console
        return
    with console.capture() as printed:
        yield console
    # Rich fills a table's last column to its width, which shows in a diff or a mail.
    click.echo(re.sub(r" +$", "", printed.get(), flags=re.MULTILINE), nl=False)
