"""The input specs in a SavedModel's ``saved_model.pb``, read from the protobuf wire format without TensorFlow.

Field numbers: tensorflow/core/protobuf/{saved_model,meta_graph}.proto, tensorflow/core/framework/{types,
tensor_shape}.proto; wire format: https://protobuf.dev/programming-guides/encoding/. Graphs are skipped unread.
"""

from __future__ import annotations

from collections.abc import Iterator

from tflite_ptq.result import TensorInfo

_META_GRAPHS = 2  # SavedModel
_SIGNATURE_DEF = 5  # MetaGraphDef
_INPUTS = 1  # SignatureDef
_DTYPE, _TENSOR_SHAPE = 2, 3  # TensorInfo
_DIM, _UNKNOWN_RANK = 2, 3  # TensorShapeProto
_SIZE = 1  # TensorShapeProto.Dim
_KEY, _VALUE = 1, 2  # an entry of any map
_DTYPES: dict[int, str] = {
    1: "float32",
    2: "float64",
    3: "int32",
    4: "uint8",
    5: "int16",
    6: "int8",
    7: "string",
    8: "complex64",
    9: "int64",
    10: "bool",
    14: "bfloat16",
    17: "uint16",
    18: "complex128",
    19: "float16",
    20: "resource",
    21: "variant",
    22: "uint32",
    23: "uint64",
}


def signatures(data: bytes) -> dict[str, tuple[TensorInfo, ...] | None]:
    """Inputs of every signature by name, sorted; ``None`` where an input's rank is unknown.

    The ``__saved_model_init_op`` signature and its like are left out. Raises ``ValueError`` for bytes that are no
    SavedModel.
    """
    found: dict[str, tuple[TensorInfo, ...] | None] = {}
    graphs = _messages(memoryview(data), _META_GRAPHS)
    if not graphs:
        raise ValueError("no graph inside")
    for graph in graphs:
        for entry in _messages(graph, _SIGNATURE_DEF):
            key = _key(entry)
            if not key.startswith("__"):
                found[key] = _inputs(entry)
    return found


def _inputs(entry: memoryview) -> tuple[TensorInfo, ...] | None:
    inputs = []
    for definition in _messages(entry, _VALUE):
        for item in _messages(definition, _INPUTS):
            for tensor in _messages(item, _VALUE):
                shape = _shape(tensor)
                if shape is None:
                    return None
                number = next((value for field, value in _fields(tensor) if field == _DTYPE), 0)
                dtype = _DTYPES.get(number, f"type_{number}") if isinstance(number, int) else ""
                inputs.append(TensorInfo(name=_key(item), shape=shape, dtype=dtype))
    return tuple(sorted(inputs, key=lambda info: info.name))


def _shape(tensor: memoryview) -> tuple[int, ...] | None:
    messages = _messages(tensor, _TENSOR_SHAPE)
    if not messages:
        return None
    shape = []
    for field, value in _fields(messages[-1]):
        if field == _UNKNOWN_RANK and value:
            return None
        if field == _DIM and isinstance(value, memoryview):
            size = next((inner for number, inner in _fields(value) if number == _SIZE), 0)
            # An int64 of -1 comes as the varint 2^64 - 1.
            shape.append(-1 if not isinstance(size, int) or size >= 1 << 63 else size)
    return tuple(shape)


def _key(entry: memoryview) -> str:
    return bytes(next(iter(_messages(entry, _KEY)), memoryview(b""))).decode("utf-8")


def _messages(data: memoryview, number: int) -> list[memoryview]:
    return [value for field, value in _fields(data) if field == number and isinstance(value, memoryview)]


def _fields(data: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """(field number, value) of one message: an int for varint and fixed fields, a view for length-delimited ones."""
    at = 0
    while at < len(data):
        tag, at = _varint(data, at)
        wire = tag & 7
        value: int | memoryview
        if wire == 0:
            value, at = _varint(data, at)
        elif wire in (1, 2, 5):
            length = {1: 8, 5: 4}.get(wire, 0)
            if wire == 2:
                length, at = _varint(data, at)
            if at + length > len(data):
                raise ValueError(f"a field of {length} bytes ends beyond the data: truncated")
            view = data[at : at + length]
            value, at = (view if wire == 2 else int.from_bytes(view, "little")), at + length
        else:
            raise ValueError(f"wire type {wire} is not protobuf")
        yield tag >> 3, value


def _varint(data: memoryview, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        if at >= len(data):
            raise ValueError("a number ends beyond the data: truncated")
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
        if shift > 63:
            raise ValueError("a number of more than 64 bits is not protobuf")
