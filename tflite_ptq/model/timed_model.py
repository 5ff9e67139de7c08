"""A model as it is timed: inputs filled once, then the bare call. Imports nothing but the interpreter."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import numpy as np

from tflite_ptq.errors import MeasurementError, ModelError
from tflite_ptq.model.delegation import Placement, placement
from tflite_ptq.model.opening import Array, Delegate, one_line, open_model


class TimedModel:
    """A ``.tflite`` file, opened and allocated. Raises what ``open_model`` does, ``ModelError`` for string inputs."""

    def __init__(self, path: Path, delegate: Delegate, threads: int) -> None:
        self._path = path
        self._model = open_model(path, delegate, threads)
        self.invoke: Callable[[], None] = self._model.invoke
        """One inference more, with nothing around it that would be timed too."""

    def fill(self, seed: int) -> None:
        """Uniform values: the whole range of a quantized input, 0..1 of a float one, else 0 or 1 (an index that every
        table has). Dynamic dimensions are 1."""
        rng, inputs = np.random.default_rng(seed), self._model.get_input_details()
        refuse_strings(self._path, {detail["name"]: detail["dtype"] for detail in inputs})
        for detail in inputs:
            shape, dtype = tuple(detail["shape"]), np.dtype(detail["dtype"])
            values = uniform(shape, dtype, rng, whole_range=detail["quantization"][0] != 0)
            self._model.set_tensor(detail["index"], values)

    def first(self) -> None:
        """One inference. Raises ``MeasurementError`` where the interpreter fails."""
        first_inference(self._path, "the interpreter", self.invoke)

    def operators(self) -> Placement:
        """Where the operators of the main subgraph run."""
        return placement(self._model._get_ops_details())

    def arena_bytes(self) -> int:
        """Memory that LiteRT's arena holds tensors in (activations and kernels' scratch), after an inference.

        LiteRT's Python interface does not tell the arena's size, but each tensor's address: those that share memory,
        at different times of an inference, count once. Constants lie in the file and do not count, nor does what a
        delegate allocates for itself (XNNPACK keeps its own workspace and packed weights).
        """
        nodes = self._model._get_ops_details()
        made = {int(tensor) for node in nodes for tensor in node["outputs"]}
        made.update(detail["index"] for detail in self._model.get_input_details())
        constants = {int(tensor) for node in nodes for tensor in node["inputs"]} - made
        places = []
        for detail in self._model.get_tensor_details():
            if detail["index"] not in constants:
                try:
                    view = self._model.tensor(detail["index"])()
                except ValueError:  # a tensor inside a delegate has no memory of its own
                    continue
                places.append((int(view.__array_interface__["data"][0]), view.nbytes))
                del view  # LiteRT refuses to run while its memory is looked at
        return covered_bytes(places)


def covered_bytes(places: Iterable[tuple[int, int]]) -> int:
    """How many bytes are covered by ``(address, size)`` ranges, which may overlap."""
    total, end = 0, 0
    for start, size in sorted(places):
        total += max(0, start + size - max(start, end))
        end = max(end, start + size)
    return total


def first_inference(path: Path, interface: str, invoke: Callable[[], None]) -> None:
    """Raises ``MeasurementError`` where it fails; later ones are timed bare."""
    try:
        invoke()
    except (ValueError, RuntimeError) as error:
        raise MeasurementError(f"{path}: {interface} failed: {one_line(error)}") from error


def refuse_strings(path: Path, dtypes: Mapping[str, np.typing.DTypeLike]) -> None:
    """Raises ``ModelError`` where one of the inputs, given by name, holds no numbers."""
    for name, dtype in dtypes.items():
        if np.dtype(dtype).kind in "SUO":
            raise ModelError(f"{path}: input '{name}' holds strings; only numbers can be timed")


def uniform(
    shape: tuple[int, ...], dtype: np.dtype[np.generic], rng: np.random.Generator, *, whole_range: bool
) -> Array:
    """Values of an input that say nothing about it but its dtype; ``whole_range`` of an integer one."""
    if dtype.kind in "iu" and whole_range:
        limits = np.iinfo(dtype.name)
        return rng.integers(limits.min, limits.max, shape, endpoint=True).astype(dtype)
    if dtype.kind == "f":
        return rng.random(shape).astype(dtype)
    return rng.integers(0, 2, shape).astype(dtype)
