"""The commented recipe that ``init`` writes (pure but for the template that it reads from the package)."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

from jinja2 import Environment, PackageLoader, StrictUndefined

from tflite_ptq.recipe.found import FoundData, Plan
from tflite_ptq.result import TensorInfo

FILL_IN = "FILL IN:"
"""Begins each comment on what the user has to correct or to complete."""
_WIDTH = 118


@dataclass(frozen=True)
class FoundModel:
    """A model and what was said of it; ``inputs`` have -1 for open dimensions. ``converted``: it is a ``.tflite``.
    ``loops``: it holds layers that become loops, which no integer kernel computes."""

    path: str
    inputs: Sequence[TensorInfo]
    signature: str | None
    trust: bool
    converted: bool
    loops: bool


def starter(file: str, name: str, model: FoundModel, plan: Plan) -> str:
    """The text of a recipe for a model."""
    environment = Environment(
        loader=PackageLoader("tflite_ptq.recipe", ""), undefined=StrictUndefined, keep_trailing_newline=True
    )
    environment.filters["quoted"] = lambda text: json.dumps(text, ensure_ascii=False)
    environment.filters["open"] = lambda size: "?" if size < 0 else str(size)
    environment.filters["comment"] = _comment
    integers = [info for info in model.inputs if "float" not in info.dtype]
    return environment.get_template("starter.yaml.j2").render(
        file=file,
        name=name,
        model=model,
        plan=plan,
        data=plan.dataset if isinstance(plan.dataset, FoundData) else None,
        wanted=None if isinstance(plan.dataset, FoundData) else plan.dataset,
        integers=", ".join(f"{info.name} {info.dtype}" for info in integers),
        # An input of pixels stays uint8 in any variant: the rest is made to match.
        io="uint8" if any(info.dtype == "uint8" for info in integers) else "int8",
        fill_in=FILL_IN,
    )


def _comment(text: str, indent: int = 0) -> str:
    """Comment lines, the first without its indentation."""
    margin = " " * indent + "# "
    return textwrap.fill(
        text, _WIDTH, initial_indent="# ", subsequent_indent=margin, break_on_hyphens=False, break_long_words=False
    )
