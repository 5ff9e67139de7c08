"""What looks at the activations of sample after sample, and how what it saw becomes a whole."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from tflite_ptq.quantize.calibration.settling import Growth
from tflite_ptq.quantize.calibration.statistics import TensorStatistics

Array = NDArray[np.generic]
SeenT = TypeVar("SeenT")
Made = TypeVar("Made", covariant=True)
Taken = TypeVar("Taken", contravariant=True)


class Observer(Protocol[Made]):
    """Runs samples through an interpreter of its own."""

    @property
    def refused(self) -> str | None:
        """As a tap's."""

    def see(self, part: range, samples: Iterable[Sequence[Array]]) -> Made:
        """Run the ``samples`` of ``part``, fewer where some were skipped, each the model's inputs in order; what was
        seen is the caller's."""


class Whole(Protocol[Taken]):
    """What was seen of all samples."""

    def add(self, seen: Taken) -> None:
        """Take in the next part."""

    def result(self) -> tuple[Sequence[TensorStatistics], Growth]:
        """The statistics of each tensor watched, and how their limits grew with the samples."""


@dataclass(frozen=True)
class Way(Generic[SeenT]):
    """How a model is looked at: samples are cut into ``parts``, the same whoever takes them, and the first is small, to
    see how long samples take."""

    observer: Callable[[], Observer[SeenT]]
    whole: Whole[SeenT]
    parts: Sequence[range]
