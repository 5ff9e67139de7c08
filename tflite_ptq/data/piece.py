"""Samples that follow each other, stacked so that what is done to all of them is done at once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from tflite_ptq.data.index import SampleRef
from tflite_ptq.data.stored import Array
from tflite_ptq.errors import DataError


@dataclass(frozen=True)
class Piece:
    """``count`` samples by input name, each (count, *shape of the input); or the ``fault`` of one sample."""

    count: int
    samples: Mapping[str, Array]
    fault: DataError | None = None

    def sample(self, place: int) -> Piece:
        """The sample at ``place`` alone."""
        return Piece(1, {name: values[place : place + 1] for name, values in self.samples.items()})


def one_by_one(read: Callable[[SampleRef], Mapping[str, Array]], refs: Iterable[SampleRef]) -> Iterator[Piece]:
    """What ``read`` gives for each of ``refs``, in order: neighbours of the same shapes stacked, faults apart."""
    run: list[Mapping[str, Array]] = []
    for ref in refs:
        try:
            sample = read(ref)
        except DataError as error:
            yield from _stacked(run)
            yield Piece(1, {}, error)
            run = []
            continue
        if run and _form(sample) != _form(run[0]):
            yield from _stacked(run)
            run = []
        run.append(sample)
    yield from _stacked(run)


def _form(sample: Mapping[str, Array]) -> Mapping[str, tuple[tuple[int, ...], str]]:
    return {name: (values.shape, values.dtype.str) for name, values in sample.items()}


def _stacked(run: Sequence[Mapping[str, Array]]) -> Iterator[Piece]:
    if run:
        yield Piece(len(run), {name: np.stack([sample[name] for sample in run]) for name in run[0]})
