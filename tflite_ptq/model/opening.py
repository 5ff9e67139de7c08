"""Opening a ``.tflite`` with LiteRT: kernels, delegate, threads. Imports nothing but the interpreter, so that a process
that times a model holds nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol, TypedDict, Union, cast

import numpy as np
from ai_edge_litert.interpreter import Interpreter, OpResolverType, load_delegate
from numpy.typing import NDArray

from tflite_ptq.errors import MeasurementError, ModelError
from tflite_ptq.model.delegation import Node
from tflite_ptq.model.refusal import explain

Array = NDArray[np.generic]


@dataclass(frozen=True)
class External:
    """A delegate in a shared library with TensorFlow Lite's external delegate interface.

    ``library`` is a path, or a bare name for the system's search path; ``options`` are handed to it as text.
    """

    library: str
    options: Mapping[str, str] = field(default_factory=dict)


Delegate = Union[Literal["cpu", "xnnpack"], External]


class TensorDetails(TypedDict):
    """What LiteRT tells of a tensor. ``quantization`` is (scale, zero point); scale 0 means not quantized."""

    name: str
    index: int
    shape: NDArray[np.int32]
    shape_signature: NDArray[np.int32]
    dtype: type[np.generic]
    quantization: tuple[float, int]


class OpenModel(Protocol):
    """The part of LiteRT's interpreter that is used."""

    def allocate_tensors(self) -> None:
        """Plans and takes the arena."""

    def get_input_details(self) -> Sequence[TensorDetails]:
        """One entry an input."""

    def get_output_details(self) -> Sequence[TensorDetails]:
        """One entry an output."""

    def get_tensor_details(self) -> Sequence[TensorDetails]:
        """One entry a tensor of the main subgraph, kernels' scratch too."""

    def _get_full_signature_list(self) -> Mapping[str, Mapping[str, Mapping[str, int]]]: ...

    def _get_ops_details(self) -> Sequence[Node]: ...

    def resize_tensor_input(self, input_index: int, tensor_size: tuple[int, ...], strict: bool = False) -> None:
        """Changes an input's shape; tensors must be allocated anew."""

    def set_tensor(self, tensor_index: int, value: Array) -> None:
        """Copies a value in."""

    def get_tensor(self, tensor_index: int) -> Array:
        """A copy of a value."""

    def tensor(self, tensor_index: int) -> Callable[[], Array]:
        """A function that gives a view of the tensor's memory."""

    def reset_all_variables(self) -> None:
        """State starts anew."""

    def invoke(self) -> None:
        """Runs the model."""


def open_model(path: Path, delegate: Delegate, threads: int) -> OpenModel:
    """The file, opened and allocated.

    ``cpu`` runs the built-in kernels alone; ``xnnpack`` lets LiteRT apply its XNNPACK delegate, as applications do; an
    external delegate takes what it can, and the built-in kernels the rest.

    Raises ``ModelError`` where the file cannot be opened or holds an operator without a kernel, ``MeasurementError``
    where an external delegate cannot be loaded or refuses the model.
    """
    if not path.is_file():
        raise ModelError(f"{path}: no such file; give the path of a .tflite file")
    external = [_loaded(delegate)] if isinstance(delegate, External) else []
    kernels = OpResolverType.BUILTIN if delegate == "xnnpack" else OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    try:
        model = Interpreter(
            model_path=str(path),
            num_threads=threads,
            experimental_op_resolver_type=kernels,
            experimental_delegates=external,
        )
        model.allocate_tensors()
    except (ValueError, RuntimeError) as error:
        if isinstance(delegate, External):
            open_model(path, "cpu", threads)  # what is wrong without the delegate too is not the delegate's fault
            raise MeasurementError(
                f"{path}: the delegate {delegate.library} does not take this model ({one_line(error)}); measure the "
                "model without it, or see the delegate's documentation for what it supports"
            ) from error
        raise ModelError(explain(path, str(error))) from error
    return cast(OpenModel, model)


def _loaded(delegate: External) -> object:
    library = delegate.library
    if "/" in library and not Path(library).is_file():
        raise MeasurementError(f"{library}: no such file; give the path of the delegate's shared library")
    try:
        return load_delegate(library, dict(delegate.options))
    except OSError as error:
        raise MeasurementError(
            f"{library}: cannot be loaded ({one_line(error)}); give a shared library built for this machine"
        ) from error
    except AttributeError as error:
        raise MeasurementError(
            f"{library}: not a TensorFlow Lite delegate ({one_line(error)}); give a library with the external "
            "delegate interface (tflite_plugin_create_delegate)"
        ) from error
    except ValueError as error:
        raise MeasurementError(
            f"{library}: the delegate could not be made ({one_line(error)}); check its options and its device"
        ) from error


def one_line(error: Exception) -> str:
    """What LiteRT said, on one line."""
    return " ".join(str(error).split())
