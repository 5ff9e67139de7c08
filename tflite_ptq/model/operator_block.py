"""Operators of one form, packed as one array: Python packs an operator field by field, which takes longer than some
operators take to run.

An operator's table is a row of numbers, but for its two vectors, which lie behind it, and its options, which all share
(https://flatbuffers.dev/internals/, and ``table Operator`` of LiteRT's schema).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tflite_ptq.model.packing import Shared
from tflite_ptq.model.table_rows import distance, place

_VTABLE = np.array([14, 24, 4, 8, 12, 20, 16, 0], np.uint16).tobytes()
"""Its own size and the table's; then where in the table the first five fields are: opcode_index, inputs, outputs,
builtin_options_type, builtin_options. Two bytes more keep what follows aligned."""
_OPERATOR = np.dtype(
    [
        ("vtable", "<i4"),
        ("opcode_index", "<u4"),
        ("inputs", "<u4"),
        ("outputs", "<u4"),
        ("builtin_options", "<u4"),
        ("builtin_options_type", "<u4"),  # a byte, and three to keep what follows aligned
        ("number_of_inputs", "<u4"),
        ("first", "<i4"),
        ("second", "<i4"),
        ("number_of_outputs", "<u4"),
        ("output", "<i4"),
    ]
)


class OperatorBlock:
    """Operators of two inputs and one output that share ``options``, an object that packs itself once a file;
    ``options_type`` is its kind, of the schema's ``BuiltinOptions``."""

    def __init__(self, options_type: int, options: Any) -> None:
        self._options_type, self._options = options_type, options
        self._rows: list[tuple[int, int, int, int]] = []
        self._shared = Shared(self)

    def add(self, opcode_index: int, first: int, second: int, output: int) -> BlockOperator:
        """Another one, for a subgraph's list of operators; ``first`` and ``second`` are its inputs."""
        self._rows.append((opcode_index, first, second, output))
        return BlockOperator(self._shared, len(_VTABLE) + _OPERATOR.itemsize * (len(self._rows) - 1))

    def Pack(self, builder: Any) -> int:  # the name that the schema's own objects have
        """The block's offset in ``builder``, which counts from the end."""
        options: int = self._options.Pack(builder)
        operators, rows = np.empty(len(self._rows), _OPERATOR), np.array(self._rows, np.int64)
        size = len(_VTABLE) + operators.nbytes
        builder.Prep(4, size)
        builder.head -= size
        offset: int = builder.Offset()
        operators["vtable"] = len(_VTABLE) + _OPERATOR.itemsize * np.arange(len(rows))
        operators["opcode_index"], operators["first"], operators["second"], operators["output"] = rows.T
        operators["inputs"] = distance(_OPERATOR, "inputs", "number_of_inputs")
        operators["outputs"] = distance(_OPERATOR, "outputs", "number_of_outputs")
        operators["number_of_inputs"], operators["number_of_outputs"] = 2, 1
        operators["builtin_options_type"] = self._options_type
        operators["builtin_options"] = offset - options - operators["vtable"] - place(_OPERATOR, "builtin_options")
        builder.Bytes[builder.head : builder.head + size] = _VTABLE + operators.tobytes()
        return offset


class BlockOperator:
    """The operator at ``place`` of a block, as the schema's object that packs itself."""

    def __init__(self, block: Shared, place: int) -> None:
        self._block, self._place = block, place

    def Pack(self, builder: Any) -> int:  # the name that the schema's own objects have
        """The table's offset in ``builder``."""
        return int(self._block.Pack(builder)) - self._place
