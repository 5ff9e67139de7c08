"""A LiteRT interpreter whose intermediate activations can be read: they are its model's outputs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol, cast

import numpy as np
from ai_edge_litert.interpreter import Interpreter, OpResolverType
from numpy.typing import NDArray

from tflite_ptq.errors import MeasurementError
from tflite_ptq.model.editing import Editable
from tflite_ptq.model.opening import one_line

Array = NDArray[np.generic]


class _Interpreter(Protocol):
    """What is used of LiteRT's interpreter."""

    def allocate_tensors(self) -> None: ...
    def resize_tensor_input(self, input_index: int, tensor_size: Sequence[int]) -> None: ...
    def set_tensor(self, tensor_index: int, value: Array) -> None: ...
    def tensor(self, tensor_index: int) -> Callable[[], Array]: ...
    def get_tensor(self, tensor_index: int) -> Array: ...
    def invoke(self) -> None: ...


class Tap:
    """Runs a model and shows the tensors watched. One thread may use it at a time; several taps run in parallel.

    ``inputs`` and ``watched`` are tensor indices of the first subgraph; those watched must be among its outputs.
    ``shapes`` are the inputs', where they are not the file's. XNNPACK does the arithmetic; where it does not run the
    model, LiteRT's plain kernels do, and ``refused`` says why. That is found before the first sample: no result depends
    on who took which sample. Raises ``MeasurementError`` where plain kernels cannot run it either.
    """

    refused: str | None = None
    """What XNNPACK objects to, on one line; ``None`` where it runs the model."""

    def __init__(
        self, content: bytes, inputs: Sequence[int], watched: Sequence[int], shapes: Sequence[Sequence[int]] = ()
    ) -> None:
        resized = dict(zip(inputs, shapes, strict=False))
        try:
            self._interpreter = _opened(content, OpResolverType.BUILTIN, resized)
        except (RuntimeError, ValueError) as error:
            self.refused = one_line(error)
            self._interpreter = _by_plain_kernels(content, resized)
        self._inputs = tuple(inputs)
        self._watched = tuple(watched)
        self._views = [self._interpreter.tensor(index) for index in watched]

    def run(self, values: Sequence[Array]) -> None:
        """One inference; ``values`` in the order of ``inputs``, in their tensors' shapes and dtypes.

        Raises ``MeasurementError`` where LiteRT does not take them, or fails.
        """
        try:
            for index, value in zip(self._inputs, values, strict=True):
                self._interpreter.set_tensor(index, value)
            self._interpreter.invoke()
        except (RuntimeError, ValueError) as error:
            raise MeasurementError(f"LiteRT failed on a sample: {one_line(error)}") from error

    def view(self, position: int) -> Array:
        """The tensor watched at ``position``: memory of the interpreter, valid until the next run; do not keep it."""
        return self._views[position]()

    def copy(self, position: int) -> Array:
        """The same, to be kept: of a small tensor it is had sooner than a view."""
        return self._interpreter.get_tensor(self._watched[position])


def _by_plain_kernels(content: bytes, resized: Mapping[int, Sequence[int]]) -> _Interpreter:
    try:
        return _opened(content, OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES, resized)
    except (RuntimeError, ValueError) as error:
        why = one_line(error)
        raise MeasurementError(f"LiteRT cannot run the model with its activations exposed: {why}") from error


def _opened(content: bytes, kernels: OpResolverType, resized: Mapping[int, Sequence[int]]) -> _Interpreter:
    interpreter = cast(
        "_Interpreter",
        Interpreter(model_content=content, num_threads=1, experimental_op_resolver_type=kernels),
    )
    for index, shape in resized.items():
        interpreter.resize_tensor_input(index, shape)
    interpreter.allocate_tensors()
    return interpreter


def watching(model: Editable, tensors: Sequence[int]) -> Tap:
    """A tap of the whole model on ``tensors``, in that order. Raises ``MeasurementError`` as ``Tap`` does."""
    return Tap(model.showing(tensors), model.inputs, tensors)
