"""The commented recipe that ``init`` writes (pure but for the template that it reads from the package)."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

from jinja2 import Environment, PackageLoader, StrictUndefined

from tflite_ptq.result import TensorInfo

_IMAGE_SIZE = 224


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


@dataclass(frozen=True)
class FoundModel:
    """A model and what was said of it; ``inputs`` have -1 for open dimensions. ``converted``: it is a ``.tflite``.
    ``sample``: the shape of the samples without a batch, where that is known."""

    path: str
    inputs: Sequence[TensorInfo]
    signature: str | None
    trust: bool
    converted: bool
    sample: tuple[int, ...] | None = None


def guessed(shape: Sequence[int], sample: Sequence[int] | None = None) -> tuple[int, ...]:
    """A shape for an input that leaves dimensions open (-1): the sample's where it has as many; 224 where an image's
    height and width seem to be meant, 1 elsewhere. ``shape`` includes the batch dimension, ``sample`` does not."""
    if sample is not None and len(sample) == len(shape) - 1:
        return tuple(size if size >= 0 else found for size, found in zip(shape, (1, *sample), strict=True))
    guess = _IMAGE_SIZE if len(shape) == 4 and shape[-1] in (1, 3) else 1
    return tuple(size if size >= 0 else 1 if axis == 0 else guess for axis, size in enumerate(shape))


def starter(file: str, name: str, model: FoundModel, data: FoundData | None) -> str:
    """The text of a recipe for a model."""
    environment = Environment(
        loader=PackageLoader("tflite_ptq.recipe", ""), undefined=StrictUndefined, keep_trailing_newline=True
    )
    environment.filters["quoted"] = lambda text: json.dumps(text, ensure_ascii=False)
    environment.filters["open"] = lambda size: "?" if size < 0 else str(size)
    environment.filters["guessed"] = guessed
    return environment.get_template("starter.yaml.j2").render(
        file=file,
        name=name,
        model=model,
        open_inputs=[info for info in model.inputs if any(size < 0 for size in info.shape[1:])],
        data=data,
    )
