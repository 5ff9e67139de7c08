"""The door to a ``.tflite`` file's bytes: what it holds, read. Its editing is ``editing``'s.

The file is mapped, not read: of weights only the length is looked at, so a file of 100 MB costs what its graph costs.
Field meanings: tensorflow/compiler/mlir/lite/schema/schema.fbs.
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

from ai_edge_litert import schema_py_generated as schema

from tflite_ptq.errors import ModelError
from tflite_ptq.model.description import ModelDescription, Operator, Signature, Subgraph, Tensor
from tflite_ptq.model.filetype import TFLITE_IDENTIFIER, content
from tflite_ptq.result import TensorInfo

# The generated schema is untyped: its tables are the one thing here that has no static type.
Table = Any

DTYPES: dict[int, str] = {v: k.lower() for k, v in vars(schema.TensorType).items() if not k.startswith("_")}
DTYPE_CODES: dict[str, int] = {name: code for code, name in DTYPES.items()}
OPERATOR_NAMES: dict[int, str] = {v: k for k, v in vars(schema.BuiltinOperator).items() if not k.startswith("_")}
_CUSTOM: int = schema.BuiltinOperator.CUSTOM
_BUFFER_DATA_SLOT = 4
_DAMAGE = (struct.error, IndexError, ValueError, TypeError, OverflowError, MemoryError)
"""What the generated accessors raise when an offset points outside of the file."""


def describe(path: Path) -> ModelDescription:
    """All that the file says about itself: signatures, subgraphs, operators, tensors, constants by size.

    Raises ``ModelError`` for a missing, empty, foreign, truncated or damaged file.
    """
    if path.is_dir():
        raise ModelError(f"{path}: is a folder; give a .tflite file")
    if not path.exists():
        raise ModelError(f"{path}: no such file; give a .tflite file")
    what = content(path)
    if what != "a TensorFlow Lite model":
        raise ModelError(
            f"{path}: is not a TensorFlow Lite model ('{TFLITE_IDENTIFIER.decode()}' at bytes 4 to 8) but {what}; "
            "give a .tflite file, or make one with `tflite-ptq convert`"
        )
    try:
        with path.open("rb") as file:
            mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except OSError as error:
        raise ModelError(f"{path}: cannot be read ({error.strerror or error}); check path and permissions") from None
    try:
        return _Reader(path, mapped).description()
    except _DAMAGE as error:
        reason = str(error) or type(error).__name__
    raise ModelError(_damaged(path, len(mapped), reason))


def _damaged(path: Path, size_bytes: int, reason: str) -> str:
    return (
        f"{path}: is a truncated or damaged TensorFlow Lite model ({size_bytes} bytes; {reason}); "
        "copy or convert it again"
    )


class _Reader:
    """Reads one mapped file. ``budget`` bounds the elements visited, so that garbage lengths end in an error."""

    def __init__(self, path: Path, mapped: mmap.mmap) -> None:
        self.path = path
        self.size_bytes = len(mapped)
        self.budget = len(mapped)
        self.model: Table = schema.Model.GetRootAs(mapped, 0)
        self.external: dict[int, int] = {}

    def description(self) -> ModelDescription:
        model = self.model
        # ai-edge-litert before 2.3 has no external buffers in its schema
        if hasattr(model, "ExternalBuffersLength"):
            tables = self.tables(model.ExternalBuffers, model.ExternalBuffersLength())
            self.external = {int(table.Id()): int(table.Length()) for table in tables}
        self.buffers = self.tables(model.Buffers, model.BuffersLength())
        self.sizes = [self.buffer_bytes(buffer) for buffer in self.buffers]
        self.codes = [self.code(table) for table in self.tables(model.OperatorCodes, model.OperatorCodesLength())]
        subgraphs = tuple(self.subgraph(table) for table in self.tables(model.Subgraphs, model.SubgraphsLength()))
        if not subgraphs:
            self.fail("it holds no subgraph")
        signatures = self.tables(model.SignatureDefs, model.SignatureDefsLength())
        return ModelDescription(
            path=self.path,
            size_bytes=self.size_bytes,
            schema_version=int(model.Version()),
            text=_text(model.Description()),
            min_runtime_version=self.min_runtime_version(),
            signatures=tuple(self.signature(table, subgraphs) for table in signatures),
            subgraphs=subgraphs,
        )

    def fail(self, reason: str) -> NoReturn:
        raise ModelError(_damaged(self.path, self.size_bytes, reason))

    def spend(self, elements: int) -> None:
        self.budget -= elements
        if self.budget < 0:
            self.fail("a length field exceeds the file")

    def tables(self, get: Callable[[int], Table], length: int) -> list[Table]:
        self.spend(length)
        return [get(index) for index in range(length)]

    def numbers(self, vector: Table) -> list[Any]:
        """Elements of an ``...AsNumpy()`` vector, which is the int 0 where the file has none."""
        if isinstance(vector, int):
            return []
        self.spend(len(vector))
        elements: list[Any] = vector.tolist()
        return elements

    def code(self, table: Table) -> tuple[str, int, bool]:
        # Schema 3a moved codes above 127 to a wider field; readers take the larger of the two (schema.fbs).
        number = max(int(table.DeprecatedBuiltinCode()), int(table.BuiltinCode()))
        custom = number == _CUSTOM
        name = _text(table.CustomCode()) or "CUSTOM" if custom else OPERATOR_NAMES.get(number, f"BUILTIN_{number}")
        return name, int(table.Version()), custom

    def buffer_bytes(self, buffer: Table) -> int:
        offset = int(buffer._tab.Offset(_BUFFER_DATA_SLOT))
        start, length = (int(buffer._tab.Vector(offset)), int(buffer.DataLength())) if offset else (0, 0)
        # Models above 2 GB keep data behind the flatbuffer at (offset, size); 0 and 1 are "none" (schema.fbs).
        if length == 0 and buffer.Offset() > 1:
            start, length = int(buffer.Offset()), int(buffer.Size())
        if start + length > self.size_bytes:
            self.fail(f"data of {length} bytes at {start} lies outside of the file")
        return length

    def subgraph(self, table: Table) -> Subgraph:
        raw = self.tables(table.Tensors, table.TensorsLength())
        tensors = tuple(self.tensor(index, tensor) for index, tensor in enumerate(raw))
        operators = self.tables(table.Operators, table.OperatorsLength())
        return Subgraph(
            name=_text(table.Name()),
            tensors=tensors,
            inputs=self.pick(tensors, self.numbers(table.InputsAsNumpy())),
            outputs=self.pick(tensors, self.numbers(table.OutputsAsNumpy())),
            operators=tuple(self.operator(operator, tensors) for operator in operators),
        )

    def tensor(self, index: int, table: Table) -> Tensor:
        shape = self.numbers(table.ShapeSignatureAsNumpy()) or self.numbers(table.ShapeAsNumpy())
        quantization = table.Quantization()
        buffer = int(table.Buffer())
        external = int(table.ExternalBuffer()) if self.external else 0
        size, stored = self.sizes[buffer] if buffer else 0, f"buffer {buffer}"
        if external in self.external:
            size, stored = self.external[external], f"external {external}"
        return Tensor(
            index=index,
            name=_text(table.Name()),
            shape=tuple(shape),
            dtype=DTYPES.get(int(table.Type()), f"type_{table.Type()}"),
            scale=tuple(self.numbers(quantization.ScaleAsNumpy())) if quantization else (),
            zero_point=tuple(self.numbers(quantization.ZeroPointAsNumpy())) if quantization else (),
            quantized_dimension=int(quantization.QuantizedDimension()) if quantization else 0,
            constant_bytes=size or None,
            buffer=stored if size else "",
            variable=bool(table.IsVariable()),
            sparse=table.Sparsity() is not None,
        )

    def operator(self, table: Table, tensors: Sequence[Tensor]) -> Operator:
        name, version, custom = self.codes[table.OpcodeIndex()]
        inputs = self.numbers(table.InputsAsNumpy())
        outputs = self.numbers(table.OutputsAsNumpy())
        optional = tuple(None if index == -1 else self.pick(tensors, [index])[0] for index in inputs)
        return Operator(name, version, optional, self.pick(tensors, outputs), custom)

    def pick(self, tensors: Sequence[Tensor], indices: Sequence[int]) -> tuple[Tensor, ...]:
        for index in indices:
            if not 0 <= index < len(tensors):
                self.fail(f"tensor {index} of {len(tensors)} is named")
        return tuple(tensors[index] for index in indices)

    def signature(self, table: Table, subgraphs: Sequence[Subgraph]) -> Signature:
        index = int(table.SubgraphIndex())
        subgraph = subgraphs[index]
        inputs = self.tables(table.Inputs, table.InputsLength())
        outputs = self.tables(table.Outputs, table.OutputsLength())
        return Signature(
            key=_text(table.SignatureKey()),
            subgraph=index,
            inputs=self.named(inputs, subgraph, subgraph.inputs),
            outputs=self.named(outputs, subgraph, subgraph.outputs),
        )

    def named(self, maps: list[Table], subgraph: Subgraph, order: Sequence[Tensor]) -> tuple[TensorInfo, ...]:
        position = {tensor.index: place for place, tensor in enumerate(order)}
        maps = sorted(maps, key=lambda table: position.get(table.TensorIndex(), len(position)))
        tensors = self.pick(subgraph.tensors, [int(table.TensorIndex()) for table in maps])
        return tuple(tensor.info(_text(table.Name())) for table, tensor in zip(maps, tensors, strict=True))

    def min_runtime_version(self) -> str | None:
        for table in self.tables(self.model.Metadata, self.model.MetadataLength()):
            if table.Name() == b"min_runtime_version":
                data = bytes(self.numbers(self.buffers[table.Buffer()].DataAsNumpy()))
                return data.split(b"\0", 1)[0].decode("ascii", "replace") or None
        return None


def _text(raw: bytes | None) -> str:
    return (raw or b"").decode("utf-8", "replace")
