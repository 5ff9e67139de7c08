"""``tflite-ptq cache``."""

from __future__ import annotations

from pathlib import Path

import click

_DIR = click.option(
    "--cache-dir",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Which cache; default: TFLITE_PTQ_CACHE, or the platform's cache folder.",
)


@click.group("cache", short_help="Show or clear what earlier runs left for later ones.")
def cache_command() -> None:
    """Show or clear what earlier runs left for later ones.

    Exported sources, calibrations, variants and evaluations are kept by the content of what they were made from.
    TFLITE_PTQ_CACHE_MAX_MIB limits their size; the least recently used go first.

    \b
    Examples:
      tflite-ptq cache show
      tflite-ptq cache clear
    """


@cache_command.command("show")
@_DIR
def show(cache_dir: Path | None) -> None:
    """Print where the cache is, and what it holds of each kind."""
    from tflite_ptq.cache.place import place
    from tflite_ptq.cache.upkeep import holdings
    from tflite_ptq.cli.printing import printing
    from tflite_ptq.report.cache_table import render

    found = place(cache_dir)
    held = holdings(found.folder)
    with printing() as console:
        render(str(found.folder), found.most_bytes, [(one.kind, one.size_bytes, one.used) for one in held], console)


@cache_command.command("clear")
@_DIR
def clear(cache_dir: Path | None) -> None:
    """Remove all that is kept; results in output folders stay."""
    from tflite_ptq.atomic import write_error
    from tflite_ptq.cache.place import place
    from tflite_ptq.cache.upkeep import clear as clear_cache
    from tflite_ptq.cache.upkeep import holdings
    from tflite_ptq.report.units import size

    folder = place(cache_dir).folder
    held = holdings(folder)
    try:
        clear_cache(folder)
    except OSError as error:
        raise write_error(folder, error) from error
    click.echo(f"{folder}: {len(held)} entries removed, {size(sum(one.size_bytes for one in held))}")
