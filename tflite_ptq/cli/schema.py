"""``tflite-ptq schema``: the JSON Schema of the recipe."""

from __future__ import annotations

import click


@click.command(name="schema")
def schema_command() -> None:
    """Print the JSON Schema of the recipe, for editors and validators.

    \b
    Examples:
      tflite-ptq schema > recipe.schema.json
      # then, as the first line of a recipe, for editors with a YAML language server:
      # yaml-language-server: $schema=recipe.schema.json
    """
    import json

    from tflite_ptq.recipe.json_schema import json_schema

    click.echo(json.dumps(json_schema(), indent=2))
