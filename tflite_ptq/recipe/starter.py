"""The commented recipe that ``init`` writes (pure but for the template that it reads from the package)."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

from jinja2 import Environment, PackageLoader, StrictUndefined

from tflite_ptq.result import TensorInfo


@dataclass(frozen=True)
class FoundData:
    """What a data folder seems to hold. ``format`` and ``preprocess`` are written into the recipe as YAML."""

    path: str
    found: str
    format: str
    preprocess: tuple[str, ...]
    samples: int
    select: str
    all_used: bool = False
    """Calibration takes the only sample there is."""


def starter(file: str, name: str, model_path: str, inputs: Sequence[TensorInfo] | None, data: FoundData | None) -> str:
    """The text of a recipe for a model. ``inputs`` have -1 for open dimensions; ``None`` where they are not known."""
    environment = Environment(
        loader=PackageLoader("tflite_ptq.recipe", ""), undefined=StrictUndefined, keep_trailing_newline=True
    )
    environment.filters["quoted"] = lambda text: json.dumps(text, ensure_ascii=False)
    environment.filters["open"] = lambda size: "?" if size < 0 else str(size)
    environment.filters["guess"] = lambda size: "1" if size < 0 else str(size)
    return environment.get_template("starter.yaml.j2").render(
        file=file,
        name=name,
        model_path=model_path,
        inputs=inputs,
        open_inputs=[info for info in inputs or () if any(size < 0 for size in info.shape[1:])],
        data=data,
    )
