"""The recipe as frozen, typed models: the one place where its fields and allowed values are written.

No numpy, no TensorFlow: the parent process and the editors' JSON Schema are made from these models alone.
``loader`` expands ``${VAR}`` and makes paths absolute, relative to the recipe's folder.
"""

from __future__ import annotations

import re
from typing import Annotated, Literal, Union, get_args

from pydantic import (
    Discriminator,
    Field,
    PositiveFloat,
    PositiveInt,
    Tag,
    model_validator,
)

from tflite_ptq.recipe.dataset import Dataset
from tflite_ptq.recipe.gate import GateLimits
from tflite_ptq.recipe.latency import LatencySettings
from tflite_ptq.recipe.metric import Metric
from tflite_ptq.recipe.strict import Strict

Scheme = Literal["dynamic", "float16", "int8", "int16x8"]
SCHEMES: tuple[str, ...] = get_args(Scheme)
INTEGER_SCHEMES = frozenset({"int8", "int16x8"})
FLOAT32 = "float32"
"""The name of the yardstick, which is always built and needs no entry under ``variants``."""

IoDtype = Literal["float32", "int8", "uint8", "int16"]
_IO_OF_SCHEME: dict[str, tuple[str, ...]] = {"int8": ("float32", "int8", "uint8"), "int16x8": ("float32", "int16")}

_FILE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
Name = Annotated[str, Field(pattern=f"^{_FILE_NAME.pattern}$", max_length=100)]


class InputOverride(Strict):
    """Fixes the dimensions that the model leaves open; ``shape`` includes the batch dimension."""

    shape: Annotated[tuple[PositiveInt, ...], Field(min_length=1)]


class Model(Strict):
    """The trained float model."""

    path: str = Field(description=".keras, .h5, SavedModel folder or float .tflite; relative to this file")
    signature: str | None = Field(None, description="SavedModel signature; default serving_default, or the only one")
    inputs: dict[str, InputOverride] = {}
    trust: bool = Field(False, description="allow a Keras file that holds code (Lambda layers) to run it")


class ExcludeOp(Strict):
    """All operators of one kind, by TFLite's name (SOFTMAX)."""

    op: str


Exclude = Annotated[
    Union[Annotated[str, Tag("<pattern>")], Annotated[ExcludeOp, Tag("<op>")]],
    Discriminator(lambda value: "<op>" if isinstance(value, (dict, ExcludeOp)) else "<pattern>"),
]


class Weights(Strict):
    """How float weights are put on the integer grid; tried beside the plain way and kept only where that is closer to
    float on calibration samples held back."""

    rounding: Literal["nearest", "compensated"] = Field(
        "nearest", description="compensated: each weight's rounding error is made up for by those after it (GPTQ)"
    )
    range: Literal["max", "mse"] = Field("max", description="mse: clip a channel's weights where that errs less")
    equalize: bool = Field(False, description="scale channels of neighbouring layers alike (cross-layer equalization)")

    @property
    def plain(self) -> bool:
        """Whether the converter's own way is asked for."""
        return self.rounding == "nearest" and self.range == "max" and not self.equalize

    @property
    def in_words(self) -> str:
        """What is done to them, as reports say it."""
        said = ["equalized"] * self.equalize + ["compensated"] * (self.rounding == "compensated")
        return " and ".join(said + ["clipped"] * (self.range == "mse")) or "to nearest"


WEIGHTS_TRIED = (Weights(rounding="compensated", equalize=True), Weights(rounding="compensated"))
"""What may help where a recipe asks for nothing: the first needs pairs of layers that can be equalized."""


class Variant(Strict):
    """One quantized file to make. A plain string is short for ``{scheme: ...}``."""

    scheme: Scheme
    name: Name = Field("", description="file name and key in the report; default: the scheme, with -io where given")
    io: IoDtype = Field("float32", description="dtype of inputs and outputs (integer schemes)")
    float_fallback: bool = Field(False, description="let operators without an integer kernel stay float")
    per_channel: bool = Field(True, description="one scale a channel for convolution weights (int8)")
    per_channel_dense: bool = Field(True, description="one scale a channel for dense weights (int8)")
    correction: Literal["auto", "none", "one-pass", "sequential"] = Field(
        "auto", description="bias correction, kept where it helps; auto tries both (int8, int16x8, dynamic)"
    )
    weights: Weights | None = Field(
        None,
        description="rounding, range, equalization of weights (int8, int16x8); default: with correction auto, or where "
        "per_channel is false, compensated and equalized if that helps; {} is the converter's own way",
    )
    exclude: tuple[Exclude, ...] = Field(
        (), description="layers that stay float: patterns of layer or tensor names, or {op: NAME} (int8)"
    )

    @model_validator(mode="before")
    @classmethod
    def _default_name(cls, data: object) -> object:
        if isinstance(data, str):
            data = {"scheme": data}
        if isinstance(data, dict) and "name" not in data and isinstance(data.get("scheme"), str):
            io = data.get("io", FLOAT32)
            name = data["scheme"] if io in (FLOAT32, data["scheme"]) else f"{data['scheme']}-{io}"
            data = {**data, "name": name}
        return data

    @model_validator(mode="after")
    def _possible(self) -> Variant:
        allowed = _IO_OF_SCHEME.get(self.scheme, (FLOAT32,))
        if self.io not in allowed:
            raise ValueError(f"io: {self.io} is not possible with scheme {self.scheme} ({', '.join(allowed)})")
        if self.scheme != "int8" and not (self.per_channel and self.per_channel_dense):
            raise ValueError(f"per_channel and per_channel_dense are settings of scheme int8, not of {self.scheme}")
        if self.scheme not in INTEGER_SCHEMES and self.float_fallback:
            raise ValueError(f"float_fallback is a setting of integer schemes, not of {self.scheme}")
        if self.weights is not None and self.scheme not in INTEGER_SCHEMES:
            raise ValueError(f"weights is a setting of integer schemes, not of {self.scheme}")
        if self.exclude and self.scheme != "int8":
            raise ValueError(f"exclude is a setting of scheme int8, not of {self.scheme}")
        if self.name == FLOAT32:
            raise ValueError("the name 'float32' is taken by the yardstick, which is always built")
        return self

    @property
    def weightings(self) -> tuple[Weights, ...]:
        """The ways with weights that are tried beside the converter's own: the recipe's; else both where ``correction``
        is ``auto``; else, where one scale serves a whole tensor, which loses most to unlike channels, the first."""
        if self.weights is not None:
            return () if self.weights.plain else (self.weights,)
        if self.scheme in INTEGER_SCHEMES and self.correction == "auto":
            return WEIGHTS_TRIED
        return WEIGHTS_TRIED[:1] if self.correction != "none" and not self.per_channel else ()

    @property
    def needs_calibration(self) -> bool:
        """Whether a representative dataset is needed."""
        return self.scheme in INTEGER_SCHEMES


class Accuracy(Strict):
    """What is measured on the evaluation samples; empty: top1 where they are labelled, else nothing."""

    metrics: tuple[Metric, ...] = ()


class Benchmark(Strict):
    """What is measured. ``latency: null`` measures none."""

    accuracy: Accuracy = Accuracy()
    latency: LatencySettings | None = LatencySettings()


class Recipe(Strict):
    """One model, its data, the variants to make, what to measure and the limits to keep."""

    version: Literal[1]
    name: Name
    model: Model
    dataset: Dataset | None = None
    variants: tuple[Variant, ...]
    benchmark: Benchmark = Benchmark()
    gate: dict[str, GateLimits] = {}
    output: str | None = Field(None, description="folder for the results; default out/<name>")
    timeout_s: PositiveFloat = Field(3600.0, description="a stage that is silent for so long counts as hung")
