"""``tflite-ptq verify``."""

from __future__ import annotations

from pathlib import Path

import click


@click.command("verify", short_help="Say whether a run's files are still those that were measured.")
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--sources", is_flag=True, help="Also the recipe and the model, where the run found them.")
@click.option("-q", "--quiet", is_flag=True, help="Print nothing but what is wrong.")
@click.pass_context
def verify_command(ctx: click.Context, run: Path, sources: bool, quiet: bool) -> None:
    """Say whether the files in RUN, the output folder of a run, are still those that were measured.

    The manifest.json that a run leaves holds their hashes. Exit code 3 where a file was changed or is missing.

    \b
    Example:
      tflite-ptq verify out/flowers && cp out/flowers/int8.tflite app/assets
    """
    from tflite_ptq import manifest
    from tflite_ptq.errors import EXIT_INPUT

    found = manifest.read(run)
    changes = tuple(manifest.changes(found, run, sources=sources))
    for change in changes:
        click.echo(f"error: {change.path}: {change.how}; it is not what was measured", err=True)
    if changes:
        ctx.exit(EXIT_INPUT)
    if not quiet:
        click.echo(f"{run}: all {len(found.files)} files are those that were measured")
