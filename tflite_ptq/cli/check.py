"""``tflite-ptq check``."""

from __future__ import annotations

from pathlib import Path

import click


@click.command("check", short_help="Check a recipe, its paths and its first samples; fast, no TensorFlow.")
@click.argument("recipe", type=click.Path(path_type=Path))
@click.option("--set", "overrides", multiple=True, metavar="KEY.PATH=VALUE", help="Override a key of the recipe.")
@click.option("--data", is_flag=True, help="Look at the calibration samples too: duplicates, blanks, odd ranges.")
@click.option("-q", "--quiet", is_flag=True, help="Print nothing but errors.")
def check_command(recipe: Path, overrides: tuple[str, ...], data: bool, quiet: bool) -> None:
    """Check RECIPE, its paths, its sample counts and its first samples against the model's inputs.

    TensorFlow is not imported: where the model's inputs are only known to TensorFlow, that comparison is left out and
    the output says so.

    \b
    Example:
      tflite-ptq check recipe.yaml && tflite-ptq convert recipe.yaml
    """
    from tflite_ptq import checking
    from tflite_ptq.recipe.loader import load

    found = checking.check(load(recipe, overrides), data)
    if not quiet:
        for line in found:
            click.echo(line)
