"""Packing a changed model, where it helps in front of the file that it was read from.

A flatbuffer is packed from its end to its start, and a table points to what lies behind it. A file can therefore be
kept as it is and continued at its front: the tables that changed are packed there and point to all the others
(https://flatbuffers.dev/internals/), unless much of the file would lie unused. That is a copy of bytes, where packing
anew is Python for every field of every table. The tables replaced stay in such a file, unused: it is one to run or to
quantize, not one to ship.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from typing import Any

import flatbuffers
from ai_edge_litert import schema_py_generated as schema

from tflite_ptq.model.tables import HoldsFile, Stored

_IDENTIFIER = b"TFL3"
_ALIGNMENT = 16  # of the buffers, by LiteRT's schema: nothing in a .tflite asks for more
_ROOM = 1 << 18
_MOST_LEFT_BEHIND = 1 / 8
"""Share of a file that may lie in it unused: biases may, weights may not."""
_UNSIGNED = struct.Struct("<I")


class Shared:
    """An object of the schema that several others hold: it is packed once a file, and they point to it."""

    def __init__(self, table: Any) -> None:
        self._table, self._builder, self._offset = table, None, 0

    def Pack(self, builder: Any) -> Any:
        """The table's offset in ``builder``."""
        if self._builder is not builder:
            self._builder, self._offset = builder, self._table.Pack(builder)
        return self._offset


def packed(model: Any) -> bytes:
    """The file of a model, with nothing in it that the model does not hold."""
    # A builder that has to grow copies all it holds.
    return _finished(_Builder(sum(map(_size, model.buffers)) + _ROOM), model)


def packed_in_front(model: Any, file: bytes) -> bytes:
    """The file of a model that was read from ``file``, continued at its front; packed anew where much of the file is
    not the model's any more."""
    if _left_behind(model.buffers, file) > _MOST_LEFT_BEHIND * len(file):
        return packed(model)
    return _finished(_InFront(file), model)


def _left_behind(buffers: Iterable[Any], file: bytes) -> int:
    """Bytes of the file's buffers that are not among ``buffers``."""
    kept = [buffer for buffer in buffers if isinstance(buffer, Stored) and buffer.is_of(file)]
    held = schema.Model.GetRootAs(file, 0)
    number: int = held.BuffersLength()
    if len(kept) == number:
        return 0
    whole: int = sum(held.Buffers(i).DataLength() for i in range(number))
    return whole - sum(map(_size, kept))


class _Builder(flatbuffers.Builder):  # type: ignore[misc]  # flatbuffers has no types
    """One that aligns bytes as the schema asks of a buffer's (``force_align``), which Python's leaves out: kernels on
    microcontrollers read weights and biases where they lie in the file."""

    head: int

    def StartVector(self, size: int, count: int, alignment: int) -> int:  # flatbuffers' name
        """As flatbuffers' own."""
        return int(super().StartVector(size, count, _ALIGNMENT if size == 1 else alignment))

    def PrependUOffsetTRelative(self, offset: int) -> None:  # flatbuffers' name
        """As flatbuffers' own, in a fraction of the time: a model is mostly lists of tables."""
        head, size = self.head - 4, len(self.Bytes)
        if head < 0 or (size - head) % 4:
            self.Prep(4, 0)
            head, size = self.head - 4, len(self.Bytes)
        _UNSIGNED.pack_into(self.Bytes, head, size - head - offset)
        self.head = head


class _InFront(_Builder, HoldsFile):
    """A builder that holds a whole file already."""

    def __init__(self, file: bytes) -> None:
        self._behind = len(file) + -len(file) % _ALIGNMENT  # its alignments hold when its end is aligned
        super().__init__(self._behind + _ROOM)
        self.file = file
        self.minalign = _ALIGNMENT
        self.head -= self._behind
        self.Bytes[self.head : self.head + len(file)] = file

    def offset(self, position: int) -> int:
        """As any that holds a file."""
        return self._behind - position


def _finished(builder: Any, model: Any) -> bytes:
    builder.Finish(model.Pack(builder), _IDENTIFIER)
    return bytes(memoryview(builder.Bytes)[builder.head :])  # Output() would be one copy more


def _size(buffer: Any) -> int:
    return 0 if buffer.data is None else len(buffer.data)
