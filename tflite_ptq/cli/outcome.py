"""Running a loaded recipe for a person or a program, and showing what came out: the step that commands share."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from tflite_ptq.errors import UserError

if TYPE_CHECKING:
    from tflite_ptq.pipeline import Options
    from tflite_ptq.recipe.loader import LoadedRecipe
    from tflite_ptq.worker.spawning import Early


@dataclass(frozen=True)
class Manner:
    """How much is shown, and for whom."""

    as_json: bool = False
    verbose: bool = False
    quiet: bool = False


def run_and_show(loaded: LoadedRecipe, options: Options, manner: Manner, runtime: Early | None = None) -> int:
    """Follows the recipe, prints the report and returns the exit code; ``runtime`` as in ``pipeline.run``, whose errors
    it raises."""
    from tflite_ptq import pipeline
    from tflite_ptq.cli import ci
    from tflite_ptq.cli.progress import TerminalProgress
    from tflite_ptq.report.gate import exit_code

    try:
        with TerminalProgress(quiet=manner.quiet or manner.as_json) as progress:
            report, folder = pipeline.run(loaded, options, progress, runtime)
    except UserError as stopped:
        ci.publish_stopped(stopped, pipeline.output_folder(loaded, options), os.environ)
        raise
    finally:
        if manner.verbose:
            show_log(pipeline.output_folder(loaded, options) / "log.txt")
    if manner.as_json:
        click.echo(report.model_dump_json(indent=2))
    elif not manner.quiet:
        from tflite_ptq.cli.printing import printing
        from tflite_ptq.report.console import render

        with printing() as console:
            render(report, console, from_here(folder))
    for error in report.errors if manner.quiet or manner.as_json else ():
        click.echo(f"error: {error}", err=True)
    ci.publish(report, folder, os.environ)
    return exit_code(report.status)


def from_here(path: Path) -> str:
    """As short as a shell needs it: relative where it lies below the current folder, without ``..``."""
    whole = Path(os.path.normpath(path.absolute()))
    return str(whole.relative_to(Path.cwd())) if whole.is_relative_to(Path.cwd()) else str(whole)


def show_log(log: Path) -> None:
    """Prints what TensorFlow and LiteRT said on the standard error."""
    if log.is_file():
        click.echo(log.read_text(encoding="utf-8", errors="replace"), err=True)
