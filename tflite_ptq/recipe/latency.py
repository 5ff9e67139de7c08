"""The recipe's ``benchmark.latency``: what is timed, and how surely it must be known."""

from __future__ import annotations

from pathlib import PurePath
from typing import Annotated, Literal, Union, get_args

from pydantic import BeforeValidator, Discriminator, Field, NonNegativeInt, PositiveFloat, PositiveInt, Tag

from tflite_ptq.recipe.strict import Strict


class ExternalDelegate(Strict):
    """A delegate in a shared library with TensorFlow Lite's external delegate interface."""

    library: Annotated[str, Field(min_length=1, description="path of the shared library, or a bare name to search")]
    options: dict[str, Union[bool, int, float, str]] = {}

    @property
    def label(self) -> str:
        """What reports and gates call it: the file's name, with the options where there are any."""
        options = ",".join(f"{key}={text}" for key, text in self.texts.items())
        return PurePath(self.library).name + (f"({options})" if options else "")

    @property
    def texts(self) -> dict[str, str]:
        """The options as delegates take them: text, ``true`` and ``false`` as in the recipe."""
        return {
            key: str(value).lower() if isinstance(value, bool) else str(value) for key, value in self.options.items()
        }


DelegateName = Literal["cpu", "xnnpack", "compiled"]
NAMES: tuple[DelegateName, ...] = get_args(DelegateName)
Delegate = Annotated[
    Union[Annotated[DelegateName, Tag("<name>")], Annotated[ExternalDelegate, Tag("<library>")]],
    Discriminator(lambda value: "<library>" if isinstance(value, (dict, ExternalDelegate)) else "<name>"),
]


def label(delegate: DelegateName | ExternalDelegate) -> str:
    """What reports and gates call a delegate."""
    return delegate if isinstance(delegate, str) else delegate.label


def _listed(value: object) -> object:
    return (value,) if isinstance(value, (str, int, dict)) else value


class LatencySettings(Strict):
    """Single inferences in fresh processes, one configuration after the other, round after round.

    In each process ``warmup`` inferences or more, until they are steady, are thrown away and up to ``runs`` counted.
    Rounds go on until each median is known to ``precision`` or a configuration has had its ``max_seconds``.
    """

    delegates: Annotated[tuple[Delegate, ...], BeforeValidator(_listed), Field(min_length=1)] = ("cpu", "xnnpack")
    threads: Annotated[tuple[PositiveInt, ...], BeforeValidator(_listed), Field(min_length=1)] = (1,)
    warmup: NonNegativeInt = Field(10, description="at least so many inferences first, until steady; 0: none")
    runs: PositiveInt = Field(100, description="inferences that are counted in each process")
    precision: Annotated[float, Field(gt=0, lt=1)] = Field(
        0.02, description="half-width of the median's 95 % interval, relative to the median"
    )
    max_seconds: PositiveFloat = Field(5.0, description="per configuration; six processes there are in any case")

    @property
    def labels(self) -> tuple[str, ...]:
        """The delegates as reports and gates call them."""
        return tuple(label(delegate) for delegate in self.delegates)
