"""``tflite-ptq report``."""

from __future__ import annotations

import os
from pathlib import Path

import click


@click.command("report", short_help="Render the report of a run again.")
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--output", type=click.Path(path_type=Path), metavar="DIR", help="Default: beside report.json.")
@click.option("-q", "--quiet", is_flag=True, help="Print nothing but errors.")
def report_command(run: Path, output: Path | None, quiet: bool) -> None:
    """Render the report of RUN again: from its report.json alone, nothing is measured.

    RUN is the folder of a run or the report.json in it. What `tflite-ptq debug` found since is taken into report.html.
    The exit code is 0 whatever the verdict of the run. A CI system is told of it as `convert` would tell it.

    \b
    Examples:
      tflite-ptq report out/flowers
      tflite-ptq report baseline/report.json --output pages
    """
    from tflite_ptq import manifest
    from tflite_ptq.cli import ci
    from tflite_ptq.report import files

    folder = run if run.is_dir() else run.parent
    target = output or folder
    report = files.read_run(run)
    # Files that were tampered with must not become those that were measured: report.json has to be the run's own.
    genuine = target.resolve() == folder.resolve() and manifest.holds(folder, files.JSON_NAME)
    files.render(report, folder, target)
    if genuine:
        manifest.rendered_again(folder, files.RENDERED)
    ci.publish(report, target, os.environ)
    if not quiet:
        click.echo(f"{target}: {', '.join(files.RENDERED)}")
