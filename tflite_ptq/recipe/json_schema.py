"""The JSON Schema (draft 2020-12) of the recipe, made from its models, for editors. Pure."""

from __future__ import annotations

from typing import TypeAlias, Union

from tflite_ptq.recipe.metric import METRICS
from tflite_ptq.recipe.schema import SCHEMES, Recipe

Json: TypeAlias = Union[bool, int, float, str, "list[Json]", "dict[str, Json]", None]

_LISTED = (("MeanStd", "mean"), ("MeanStd", "std"), ("LatencySettings", "delegates"), ("LatencySettings", "threads"))
"""Lists of which a single entry may be written bare."""


def json_schema() -> dict[str, Json]:
    """The schema as plain data. It takes what the loader takes: short forms, and a bare entry where a list may be."""
    schema: dict[str, Json] = Recipe.model_json_schema(mode="validation")
    definitions = schema["$defs"]
    assert isinstance(definitions, dict)
    for block, key in _LISTED:
        field = _field(definitions, block, key)
        listed = {name: field.pop(name) for name in [*field] if name not in ("title", "description", "default")}
        entry = listed.get("items", {})
        field["anyOf"] = [entry, listed]
    # The models derive the name from the scheme; the empty default is not a name.
    _field(definitions, "Variant", "name").pop("default", None)
    metric: Json = [{"enum": [*METRICS]}, {"pattern": r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$"}]
    _field(definitions, "Metric", "name").update({"anyOf": metric})
    definitions["Variant"] = {"anyOf": [{"type": "string", "enum": [*SCHEMES]}, definitions["Variant"]]}
    definitions["Metric"] = {"anyOf": [{"type": "string", "anyOf": metric}, definitions["Metric"]]}
    step = definitions["Step"]
    assert isinstance(step, dict)
    step.update({"minProperties": 1, "maxProperties": 1})
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": "urn:tflite-ptq:recipe:1",
        **schema,
        "title": "tflite-ptq recipe",
    }


def _field(definitions: dict[str, Json], block: str, key: str) -> dict[str, Json]:
    definition = definitions[block]
    assert isinstance(definition, dict)
    properties = definition["properties"]
    assert isinstance(properties, dict)
    field = properties[key]
    assert isinstance(field, dict)
    return field
