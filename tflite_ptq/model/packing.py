"""Reading a packed ``.tflite`` table by table, and packing a changed model in front of the file that it was read from.

A flatbuffer is packed from its end to its start, and a table points to what lies behind it. A file can therefore be
kept as it is and continued at its front: the tables that changed are packed there and point to all the others
(https://flatbuffers.dev/internals/), unless much of the file would lie unused. That is a copy of bytes, where packing
anew is Python for every field of every table. The tables replaced stay in such a file, unused: it is one to run or to
quantize, not one to ship.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable
from functools import cache
from typing import Any

import flatbuffers
from ai_edge_litert import schema_py_generated as schema

_IDENTIFIER = b"TFL3"
_ALIGNMENT = 16  # of the buffers, by LiteRT's schema: nothing in a .tflite asks for more
_ROOM = 1 << 18
_MOST_LEFT_BEHIND = 1 / 8
"""Share of a file that may lie in it unused: biases may, weights may not."""
_SIGNED, _UNSIGNED, _SHORT = struct.Struct("<i"), struct.Struct("<I"), struct.Struct("<H")
_UNIONS = {"builtinOptions": schema.BuiltinOptionsCreator, "builtinOptions2": schema.BuiltinOptions2Creator}
"""What reads the unions of an operator without the rest of it."""


class Stored:
    """A table of a packed file, as the schema's object of it: each field is read when it is asked for.

    Its fields may be set. Those of a table inside of it may not, as it would not know: a copy of that is set instead.
    """

    def __init__(self, table: Any) -> None:
        self.__dict__.update(_table=_quickly_read(table), _set={}, _inside=False)

    def __getattr__(self, field: str) -> Any:
        if field.startswith("__"):
            raise AttributeError(field)
        value = self.__dict__[field] = _read(self.__dict__["_table"], field)
        for one in value if isinstance(value, list) else (value,):
            if isinstance(one, Stored):
                one.__dict__["_inside"] = True
        return value

    def __setattr__(self, field: str, value: object) -> None:
        if self._inside:
            raise TypeError(f"{field} of a table inside of another: set a copy of the table")
        self._set[field] = self.__dict__[field] = value

    def __copy__(self) -> Stored:
        other = Stored(self._table)
        other.__dict__.update(self.__dict__)
        other.__dict__.update(_set=dict(self._set), _inside=False)
        return other

    def is_of(self, file: bytes) -> bool:
        """Whether this is what ``file`` holds, unchanged."""
        return not self._set and self._table._tab.Bytes is file

    def place(self, vtable_offset: int) -> int | None:
        """Where in its file a field is, by its place in the vtable; ``None`` where the table has not the field."""
        table = self._table._tab
        offset: int = table.Offset(vtable_offset)
        return table.Pos + offset if offset else None

    def Pack(self, builder: Any) -> Any:  # the name that the schema's own objects have
        """The table's offset in ``builder``, which may hold it already."""
        if isinstance(builder, _InFront) and self.is_of(builder.file):
            return builder.offset(self._table._tab.Pos)
        plain = type(_plain(self._table)).InitFromObj(self._table)
        vars(plain).update(self._set)
        return plain.Pack(builder)


class _QuickTable(flatbuffers.table.Table):  # type: ignore[misc]  # flatbuffers has no types
    """One that unpacks without a view of the whole file, and three calls, for each number."""

    def Offset(self, place: int) -> int:  # flatbuffers' name
        """Where a field is in the table, by its place in the vtable; 0 where the table has not the field."""
        file, at = self.Bytes, self.Pos
        vtable = at - _SIGNED.unpack_from(file, at)[0]
        return _SHORT.unpack_from(file, vtable + place)[0] if place < _SHORT.unpack_from(file, vtable)[0] else 0

    def Get(self, kind: Any, at: int) -> Any:  # flatbuffers' name
        """The number at ``at``."""
        return kind.packer_type.unpack_from(self.Bytes, at)[0]


def _quickly_read(table: Any) -> Any:
    """The schema's reader of a table, from now on by a ``_QuickTable``."""
    table._tab = _QuickTable(table._tab.Bytes, table._tab.Pos)
    return table


class Shared:
    """An object of the schema that several others hold: it is packed once a file, and they point to it."""

    def __init__(self, table: Any) -> None:
        self._table, self._builder, self._offset = table, None, 0

    def Pack(self, builder: Any) -> Any:
        """The table's offset in ``builder``."""
        if self._builder is not builder:
            self._builder, self._offset = builder, self._table.Pack(builder)
        return self._offset


def unpacked(file: bytes) -> Any:
    """The schema's ``ModelT``, whose subgraphs are ``SubGraphT``; all other tables are ``Stored``."""
    model = _filled(_quickly_read(schema.Model.GetRootAs(file, 0)))
    model.subgraphs = [_filled(stored._table) for stored in model.subgraphs]
    return model


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
        """As flatbuffers' own, in half the time: a model is mostly lists of tables."""
        self.Prep(4, 0)
        head = self.head - 4
        _UNSIGNED.pack_into(self.Bytes, head, len(self.Bytes) - head - offset)
        self.head = head


class _InFront(_Builder):
    """A builder that holds a whole file already."""

    def __init__(self, file: bytes) -> None:
        self._behind = len(file) + -len(file) % _ALIGNMENT  # its alignments hold when its end is aligned
        super().__init__(self._behind + _ROOM)
        self.file = file
        self.minalign = _ALIGNMENT
        self.head -= self._behind
        self.Bytes[self.head : self.head + len(file)] = file

    def offset(self, position: int) -> int:
        """Of what lies at ``position`` of the file, counted from the end as builders do."""
        return self._behind - position


def _finished(builder: Any, model: Any) -> bytes:
    builder.Finish(model.Pack(builder), _IDENTIFIER)
    return bytes(memoryview(builder.Bytes)[builder.head :])  # Output() would be one copy more


def _size(buffer: Any) -> int:
    return 0 if buffer.data is None else len(buffer.data)


def _plain(table: Any) -> Any:
    """The schema's object for such a table, empty."""
    return getattr(schema, f"{type(table).__name__}T")()


def _filled(table: Any) -> Any:
    filled = _plain(table)
    for field in vars(filled):
        setattr(filled, field, _read(table, field))
    return filled


def _read(table: Any, field: str) -> Any:
    """A field as the schema's objects hold it: numbers, bytes, arrays, tables, lists of tables; ``None`` if absent."""
    return _reader(type(table).__name__, field)(table)


@cache
def _reader(name: str, field: str) -> Callable[[Any], Any]:
    """``fooBar`` is read by ``FooBar``; a vector also has ``FooBarIsNone`` and ``FooBarLength``, one of numbers
    ``FooBarAsNumpy``."""
    kind, method = getattr(schema, name), field[0].upper() + field[1:]
    read = getattr(kind, method, None)
    if read is None:
        raise AttributeError(f"{name} has no field {field}")
    absent = getattr(kind, f"{method}IsNone", None)
    if absent is None:
        return lambda table: _as_object(table, field, read(table))
    numbers, length = getattr(kind, f"{method}AsNumpy", None), getattr(kind, f"{method}Length")
    if numbers is not None:
        return lambda table: None if absent(table) else numbers(table)
    return lambda table: None if absent(table) else [Stored(read(table, i)) for i in range(length(table))]


def _as_object(table: Any, field: str, value: Any) -> Any:
    if isinstance(value, flatbuffers.table.Table):  # a union: the schema's objects know which of its kinds it is
        if field in _UNIONS:
            return _UNIONS[field](_read(table, f"{field}Type"), value)
        return getattr(type(_plain(table)).InitFromObj(table), field)
    return Stored(value) if hasattr(value, "_tab") else value
