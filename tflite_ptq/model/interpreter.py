"""LiteRT: models by name and in real values. One ``Runner`` is one interpreter; it is not thread-safe.

Inputs and outputs are named as the signature of the main subgraph names them, else as their tensors are named, in the
order of the subgraph.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tflite_ptq.errors import MeasurementError, ModelError
from tflite_ptq.model.affine import dequantize, quantize
from tflite_ptq.model.flatbuffer import describe
from tflite_ptq.model.opening import Array, Delegate, TensorDetails, one_line, open_model
from tflite_ptq.result import TensorInfo

_QUANTIZED = frozenset({"int8", "uint8", "int16"})


@dataclass
class _Slot:
    """An input or output: its place in the interpreter and, for an input, the shape it has now."""

    info: TensorInfo
    name: str
    index: int
    dtype: np.dtype[np.generic]
    scale: float | None
    zero_point: int
    shape: tuple[int, ...]


class Runner:
    """A ``.tflite`` file, opened and ready to run with ``threads`` threads.

    ``delegate``: ``cpu`` runs the built-in kernels alone, ``xnnpack`` lets LiteRT apply its XNNPACK delegate, as
    applications do. Raises ``ModelError`` where the file cannot be opened or holds an operator without a kernel.
    """

    def __init__(self, path: Path, delegate: Delegate, threads: int) -> None:
        self.path = path
        self._interpreter = open_model(path, delegate, threads)
        names = self._signature()
        self._inputs = self._slots("inputs", self._interpreter.get_input_details(), names)
        self._outputs = self._slots("outputs", self._interpreter.get_output_details(), names)
        self._by_name = {slot.name: slot for slot in self._inputs}

    @property
    def inputs(self) -> tuple[TensorInfo, ...]:
        """The inputs; shapes include the batch dimension, -1 is a dimension left dynamic."""
        return tuple(slot.info for slot in self._inputs)

    @property
    def outputs(self) -> tuple[TensorInfo, ...]:
        """The outputs, as ``inputs``."""
        return tuple(slot.info for slot in self._outputs)

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """One inference on its own: a recurrent layer's state starts anew.

        ``inputs``: real values, or values in the input's own dtype, each of its whole shape.

        Real values for a quantized input are quantized with the model's scale and zero point, rounded and clipped.
        Quantized outputs come back as float32, others in their own dtype; all are copies. Dynamic dimensions follow
        the values. Raises ``MeasurementError`` for missing or unknown names, wrong shapes or dtypes, and where the
        interpreter fails.
        """
        outputs = self.run_all({name: value[np.newaxis] for name, value in inputs.items()})
        return {name: values[0, ...] for name, values in outputs.items()}

    def run_all(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """``run`` on each of n samples, one inference each: inputs and outputs are (n, *shape).

        Raises ``MeasurementError`` as ``run`` does, and where an output's shape changes from sample to sample.
        """
        if inputs.keys() != self._by_name.keys():
            raise MeasurementError(self._wrong_names(inputs))
        fed: list[tuple[int, Array]] = []
        for slot in self._inputs:
            values = inputs[slot.name]
            if values.shape[1:] != slot.shape:
                self._resize(slot, values.shape[1:])
            fed.append((slot.index, values if values.dtype == slot.dtype else self._converted(slot, values)))
        interpreter = self._interpreter
        raws: list[Array] = []
        count = min((len(values) for _, values in fed), default=1)
        for sample in range(count):
            for index, values in fed:
                interpreter.set_tensor(index, values[sample, ...])
            interpreter.reset_all_variables()
            self.invoke()
            for place, slot in enumerate(self._outputs):
                raw = interpreter.get_tensor(slot.index)
                if sample == 0:
                    raws.append(np.empty((count, *raw.shape), raw.dtype))
                elif raw.shape != raws[place].shape[1:]:
                    raise MeasurementError(f"{self.path}: output '{slot.name}' changes its shape from sample to sample")
                raws[place][sample] = raw
        return {
            slot.name: raw if slot.scale is None else dequantize(raw, slot.scale, slot.zero_point)
            for slot, raw in zip(self._outputs, raws, strict=True)
        }

    def set_raw(self, position: int, value: Array) -> None:
        """Copy ``value`` (own dtype, current shape) into the input at ``position`` of ``inputs``."""
        self._interpreter.set_tensor(self._inputs[position].index, value)

    def invoke(self) -> None:
        """Run the model on the tensors set. Raises ``MeasurementError`` where the interpreter fails."""
        try:
            self._interpreter.invoke()
        except (ValueError, RuntimeError) as error:
            raise MeasurementError(f"{self.path}: the interpreter failed: {one_line(error)}") from error

    def get_raw(self, position: int) -> Array:
        """A copy of the output at ``position`` of ``outputs``, in its own dtype."""
        return self._interpreter.get_tensor(self._outputs[position].index)

    def _signature(self) -> Mapping[str, Mapping[str, int]] | None:
        signatures = self._interpreter._get_full_signature_list()
        if len(signatures) == 1:
            return next(iter(signatures.values()))
        main = describe(self.path).main_signature if signatures else None  # the interpreter does not tell subgraphs
        return None if main is None else signatures[main.key]

    def _slots(
        self, side: str, details: Sequence[TensorDetails], signature: Mapping[str, Mapping[str, int]] | None
    ) -> tuple[_Slot, ...]:
        by_index = {detail["index"]: detail for detail in details}
        named = {} if signature is None else dict(signature[side])
        if set(named.values()) != set(by_index):  # the signature belongs to another subgraph, or there is none
            named = {detail["name"]: detail["index"] for detail in details}
        place = list(by_index)
        order = sorted(named.items(), key=lambda item: place.index(item[1]))
        return tuple(self._slot(name, by_index[index]) for name, index in order)

    def _slot(self, name: str, detail: TensorDetails) -> _Slot:
        dtype = np.dtype(detail["dtype"])
        if dtype.kind in "SUO":
            raise ModelError(f"{self.path}: tensor '{name}' holds strings; only numbers can be measured")
        shape = tuple(int(size) for size in detail["shape"])
        signature = tuple(int(size) for size in detail["shape_signature"]) or shape
        scale, zero_point = detail["quantization"]
        quantized = dtype.name in _QUANTIZED and scale != 0
        info = TensorInfo(
            name=name,
            shape=signature,
            dtype=dtype.name,
            scale=float(scale) if quantized else None,
            zero_point=int(zero_point) if quantized else None,
        )
        return _Slot(info, name, int(detail["index"]), dtype, info.scale, int(zero_point), shape)

    def _resize(self, slot: _Slot, shape: tuple[int, ...]) -> None:
        declared = slot.info.shape
        fits = len(shape) == len(declared) and all(want in (-1, got) for want, got in zip(declared, shape, strict=True))
        if not fits:
            raise MeasurementError(f"{self.path}: input '{slot.name}': expected shape {declared}, got {shape}")
        try:
            self._interpreter.resize_tensor_input(slot.index, shape, strict=True)
            self._interpreter.allocate_tensors()
        except (ValueError, RuntimeError) as error:
            raise MeasurementError(
                f"{self.path}: input '{slot.name}' cannot be resized to {shape}: {one_line(error)}"
            ) from error
        slot.shape = shape

    def _converted(self, slot: _Slot, value: Array) -> Array:
        if slot.scale is not None:
            return quantize(value, slot.scale, slot.zero_point, slot.dtype)
        if not np.can_cast(value.dtype, slot.dtype, "same_kind"):
            raise MeasurementError(
                f"{self.path}: input '{slot.name}': expected {slot.dtype.name}, got {value.dtype.name}"
            )
        return value.astype(slot.dtype)

    def _wrong_names(self, inputs: Mapping[str, Array]) -> str:
        known = ", ".join(repr(name) for name in self._by_name)
        unknown = [name for name in inputs if name not in self._by_name]
        if unknown:
            return f"{self.path}: the model has no input '{unknown[0]}'; its inputs are {known}"
        missing = next(name for name in self._by_name if name not in inputs)
        return f"{self.path}: no values for input '{missing}'; the model's inputs are {known}"
