"""A model as it is timed through LiteRT's ``CompiledModel``, the interface that succeeds the interpreter."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Protocol, TypedDict, cast

import numpy as np
from ai_edge_litert.compiled_model import CompiledModel
from ai_edge_litert.cpu_options import CpuOptions
from ai_edge_litert.hardware_accelerator import HardwareAccelerator
from ai_edge_litert.options import Options

from tflite_ptq.errors import MeasurementError
from tflite_ptq.model.opening import Array, one_line, open_model
from tflite_ptq.model.timed_model import first_inference, refuse_strings, uniform

_WHOLE_RANGE = frozenset({"int8", "uint8", "int16"})
"""``CompiledModel`` does not tell what is quantized; integers of these dtypes are."""


class _Details(TypedDict):
    dtype: str
    shape: list[int]


class _Buffer(Protocol):
    def write(self, data_array: Array) -> None: ...


class _Buffers(Protocol):
    def __call__(self, signature_key: str, name: str) -> _Buffer: ...


class _Compiled(Protocol):
    """What is used of ``CompiledModel``."""

    create_input_buffer_by_name: _Buffers
    create_output_buffer_by_name: _Buffers

    def get_signature_list(self) -> Mapping[str, object]: ...
    def get_input_tensor_details(self, signature_key: str) -> Mapping[str, _Details]: ...
    def get_output_tensor_details(self, signature_key: str) -> Mapping[str, _Details]: ...
    def run_by_name(
        self, signature_key: str, input_map: Mapping[str, _Buffer], output_map: Mapping[str, _Buffer]
    ) -> None: ...


class TimedCompiled:
    """A ``.tflite`` file's first signature on the CPU: XNNPACK, called as LiteRT's own benchmark calls it.

    Where its operators run, and how much memory their tensors take, ``CompiledModel`` does not tell. Raises
    ``ModelError`` for what LiteRT cannot open at all, ``MeasurementError`` for what only this interface refuses.
    """

    def __init__(self, path: Path, threads: int) -> None:
        self._path = path
        options = Options(hardware_accelerators=HardwareAccelerator.CPU, cpu_options=CpuOptions(num_threads=threads))
        try:
            model = cast(_Compiled, CompiledModel.from_file(str(path), options=options))
            self._key = next(iter(model.get_signature_list()))
            self._fed = model.get_input_tensor_details(self._key)
            refuse_strings(path, {name: details["dtype"] for name, details in self._fed.items()})
            self._inputs = {name: model.create_input_buffer_by_name(self._key, name) for name in self._fed}
            outputs = model.get_output_tensor_details(self._key)
            self._outputs = {name: model.create_output_buffer_by_name(self._key, name) for name in outputs}
        except (RuntimeError, ValueError) as error:
            open_model(path, "xnnpack", threads)  # what the interpreter cannot open is not this interface's fault
            raise MeasurementError(
                f"{path}: CompiledModel does not take this model ({one_line(error)}); time it with delegate xnnpack"
            ) from error
        self.invoke: Callable[[], None] = partial(model.run_by_name, self._key, self._inputs, self._outputs)
        """One inference more, with nothing around it that would be timed too."""

    def fill(self, seed: int) -> None:
        """The values that ``TimedModel.fill`` takes."""
        rng = np.random.default_rng(seed)
        for name, details in self._fed.items():
            shape, dtype = tuple(max(1, size) for size in details["shape"]), np.dtype(details["dtype"])
            self._inputs[name].write(uniform(shape, dtype, rng, whole_range=details["dtype"] in _WHOLE_RANGE))

    def first(self) -> None:
        """One inference. Raises ``MeasurementError`` where it fails."""
        first_inference(self._path, "CompiledModel", self.invoke)

    def operators(self) -> None:
        """Not known."""

    def arena_bytes(self) -> None:
        """Not known."""
