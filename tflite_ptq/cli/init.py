"""``tflite-ptq init``."""

from __future__ import annotations

from pathlib import Path

import click


@click.command("init", short_help="Write a commented recipe for a model.")
@click.argument("model", type=click.Path(path_type=Path))
@click.option("--data", type=click.Path(path_type=Path), metavar="DIR", help="Folder (or stacked file) of samples.")
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), default=Path("recipe.yaml"), show_default=True, metavar="FILE"
)
@click.option("--signature", metavar="NAME", help="Signature of a SavedModel that has several.")
@click.option("--trust", is_flag=True, help="Code in a Keras file (Lambda layers) may run: `trust: true`.")
@click.option("--force", is_flag=True, help="Replace a recipe that is there.")
def init_command(model: Path, data: Path | None, output: Path, signature: str | None, trust: bool, force: bool) -> None:
    """Open MODEL and write a commented recipe that `tflite-ptq check` accepts.

    \b
    Examples:
      tflite-ptq init model.keras --data photos
      tflite-ptq init saved_model/ --data features.npz -o kws.yaml
    """
    from tflite_ptq import atomic, starting
    from tflite_ptq.errors import UsageError
    from tflite_ptq.recipe.schema import Model
    from tflite_ptq.recipe.starter import FILL_IN

    if output.exists() and not force:
        raise UsageError(f"{output}: is there already; choose another with -o FILE or replace it with --force")
    source = Model(path=str(model), signature=signature, trust=trust)
    text = starting.recipe_for(source, data, output)
    atomic.write(output, text.encode())
    first = f"fill in what it marks with '{FILL_IN}', then" if f"# {FILL_IN}" in text else "next"
    click.echo(f"wrote {output}; {first}: tflite-ptq check {output}")
