"""Writes small .tflite files from a description, with the schema's own object API (no converter)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import flatbuffers
from ai_edge_litert import schema_py_generated as schema


@dataclass
class T:
    name: str
    dtype: str = "FLOAT32"
    shape: Sequence[int] = (1, 4)
    data: bytes | None = None
    scale: Sequence[float] = ()
    zero_point: Sequence[int] = ()
    dimension: int = 0
    variable: bool = False
    sparse: bool = False
    shape_signature: Sequence[int] | None = None
    share: str | None = None  # use the buffer of this tensor


@dataclass
class Op:
    name: str
    inputs: Sequence[str | None]
    outputs: Sequence[str]
    version: int = 1
    options: Any = None  # a table of the schema, such as Conv2DOptionsT


@dataclass
class Graph:
    tensors: Sequence[T]
    inputs: Sequence[str]
    outputs: Sequence[str]
    ops: Sequence[Op]


@dataclass
class Sig:
    key: str
    inputs: dict[str, str]
    outputs: dict[str, str]
    graph: int = 0


@dataclass
class File:
    graphs: Sequence[Graph]
    signatures: Sequence[Sig] = ()
    runtime: str | None = None
    _codes: list[tuple[str, int]] = field(default_factory=list)

    def write(self, path: Path) -> Path:
        model: Any = schema.ModelT()
        model.version, model.description, model.buffers = 3, "tiny", [schema.BufferT()]
        model.subgraphs = [self._graph(model, graph) for graph in self.graphs]
        model.operatorCodes = [_code(name, version) for name, version in self._codes]
        model.signatureDefs = [self._signature(sig) for sig in self.signatures]
        if self.runtime:
            entry = schema.MetadataT()
            entry.name, entry.buffer = "min_runtime_version", _buffer(model, self.runtime.encode().ljust(16, b"\0"))
            model.metadata = [entry]
        builder = flatbuffers.Builder(1024)
        builder.Finish(model.Pack(builder), b"TFL3")
        path.write_bytes(bytes(builder.Output()))
        return path

    def _graph(self, model: Any, graph: Graph) -> Any:
        made: Any = schema.SubGraphT()
        index = {tensor.name: number for number, tensor in enumerate(graph.tensors)}
        buffers: dict[str, int] = {}
        made.name, made.tensors, made.operators = "main", [], []
        for tensor in graph.tensors:
            buffers[tensor.name] = buffers[tensor.share] if tensor.share else _buffer(model, tensor.data)
            made.tensors.append(_tensor(tensor, buffers[tensor.name]))
        made.inputs = [index[name] for name in graph.inputs]
        made.outputs = [index[name] for name in graph.outputs]
        for op in graph.ops:
            operator: Any = schema.OperatorT()
            if (op.name, op.version) not in self._codes:
                self._codes.append((op.name, op.version))
            operator.opcodeIndex = self._codes.index((op.name, op.version))
            operator.inputs = [-1 if name is None else index[name] for name in op.inputs]
            operator.outputs = [index[name] for name in op.outputs]
            if op.options is not None:
                kind = type(op.options).__name__.removesuffix("T")
                operator.builtinOptions, operator.builtinOptionsType = op.options, getattr(schema.BuiltinOptions, kind)
            made.operators.append(operator)
        return made

    def _signature(self, sig: Sig) -> Any:
        made: Any = schema.SignatureDefT()
        names = [tensor.name for tensor in self.graphs[sig.graph].tensors]
        made.signatureKey, made.subgraphIndex = sig.key, sig.graph
        made.inputs = [_map(name, names.index(tensor)) for name, tensor in sig.inputs.items()]
        made.outputs = [_map(name, names.index(tensor)) for name, tensor in sig.outputs.items()]
        return made


def _map(name: str, index: int) -> Any:
    made: Any = schema.TensorMapT()
    made.name, made.tensorIndex = name, index
    return made


def _buffer(model: Any, data: bytes | None) -> int:
    if data is None:
        return 0
    made: Any = schema.BufferT()
    made.data = list(data)
    model.buffers.append(made)
    return len(model.buffers) - 1


def _tensor(tensor: T, buffer: int) -> Any:
    made: Any = schema.TensorT()
    made.name, made.shape, made.buffer = tensor.name, list(tensor.shape), buffer
    made.type, made.isVariable = getattr(schema.TensorType, tensor.dtype), tensor.variable
    made.shapeSignature = None if tensor.shape_signature is None else list(tensor.shape_signature)
    if tensor.sparse:
        made.sparsity = schema.SparsityParametersT()
    if tensor.scale:
        made.quantization = schema.QuantizationParametersT()
        made.quantization.scale, made.quantization.zeroPoint = list(tensor.scale), list(tensor.zero_point)
        made.quantization.quantizedDimension = tensor.dimension
    return made


def _code(name: str, version: int) -> Any:
    made: Any = schema.OperatorCodeT()
    made.version = version
    number = getattr(schema.BuiltinOperator, name, None)
    if number is None:
        number, made.customCode = schema.BuiltinOperator.CUSTOM, name
    made.builtinCode, made.deprecatedBuiltinCode = number, min(number, 127)
    return made


def moving(options: Any, padding: int, stride: tuple[int, int]) -> Any:
    """A convolution's ``options``, with how its kernel moves."""
    options.padding, (options.strideH, options.strideW) = padding, stride
    return options


INT8 = {"dtype": "INT8", "scale": (0.5,), "zero_point": (-3,)}


def int8_dense(path: Path, *, float_io: bool = False) -> Path:
    """A dense layer in int8, per-channel weights (2 channels), with float or int8 inputs and outputs."""
    tensors = [
        T("x", **INT8, shape=(1, 4), shape_signature=(-1, 4)),  # type: ignore[arg-type]
        T("w", "INT8", (2, 4), bytes(8), (0.25, 0.125), (0, 0)),
        T("b", "INT32", (2,), bytes(8), (0.125, 0.0625), (0, 0)),
        T("y", **INT8, shape=(1, 2)),  # type: ignore[arg-type]
    ]
    ops = [Op("FULLY_CONNECTED", ("x", "w", "b"), ("y",), 4)]
    inputs, outputs = ["x"], ["y"]
    if float_io:
        tensors += [T("fx"), T("fy", shape=(1, 2))]
        ops = [Op("QUANTIZE", ("fx",), ("x",)), *ops, Op("DEQUANTIZE", ("y",), ("fy",), 2)]
        inputs, outputs = ["fx"], ["fy"]
    signature = Sig("serving_default", {"features": inputs[0]}, {"scores": outputs[0]})
    return File([Graph(tensors, inputs, outputs, ops)], [signature], "2.3.0").write(path)
