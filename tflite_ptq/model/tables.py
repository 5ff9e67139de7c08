"""Reading a packed ``.tflite`` table by table.

The schema's own object API unpacks all of a file, field by field; most edits look at a few fields of some tables.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from functools import cache
from typing import Any

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema
from numpy.typing import NDArray

_SIGNED, _UNSIGNED, _SHORT = struct.Struct("<i"), struct.Struct("<I"), struct.Struct("<H")
_UNIONS = {"builtinOptions": schema.BuiltinOptionsCreator, "builtinOptions2": schema.BuiltinOptions2Creator}
"""What reads the unions of an operator without the rest of it."""


class HoldsFile:
    """What a flatbuffers builder is, too, that starts with a whole ``file`` in it."""

    file: bytes

    def offset(self, position: int) -> int:
        """Of what lies at ``position`` of the file, counted from the end as builders do."""
        raise NotImplementedError


class Stored:
    """A table of a packed file, as the schema's object of it: each field is read when it is asked for.

    Its fields may be set. Those of a table inside of it may not, as it would not know: a copy of that is set instead.
    """

    def __init__(self, kind: type, file: bytes, position: int) -> None:
        """``kind``: the schema's reader of the table at ``position`` of ``file``."""
        self.__dict__.update(_kind=kind, _file=file, _position=position, _made=None, _set={}, _inside=False)

    def __getattr__(self, field: str) -> Any:
        if field.startswith("__"):
            raise AttributeError(field)
        value = self.__dict__[field] = _read(self._table, field)
        for one in value if isinstance(value, list) else (value,):
            if isinstance(one, Stored):
                one.__dict__["_inside"] = True
        return value

    def __setattr__(self, field: str, value: object) -> None:
        if self._inside:
            raise TypeError(f"{field} of a table inside of another: set a copy of the table")
        self._set[field] = self.__dict__[field] = value

    def __copy__(self) -> Stored:
        other = Stored(self._kind, self._file, self._position)
        other.__dict__.update(self.__dict__)
        other.__dict__.update(_set=dict(self._set), _inside=False)
        return other

    def is_of(self, file: bytes) -> bool:
        """Whether this is what ``file`` holds, unchanged."""
        return self._file is file and not self._set

    def place(self, vtable_offset: int) -> int | None:
        """Where in its file a field is, by its place in the vtable; ``None`` where the table has not the field."""
        offset = _QuickTable(self._file, self._position).Offset(vtable_offset)
        return self._position + offset if offset else None

    def Pack(self, builder: Any) -> Any:  # the name that the schema's own objects have
        """The table's offset in ``builder``, which may hold it already."""
        if isinstance(builder, HoldsFile) and self.is_of(builder.file):
            return builder.offset(self._position)
        plain = type(_plain(self._kind)).InitFromObj(self._table)
        vars(plain).update(self._set)
        return plain.Pack(builder)

    @property
    def _table(self) -> Any:
        made = self._made
        if made is None:
            made = self.__dict__["_made"] = _at(self._kind, _QuickTable(self._file, self._position))
        return made


def unpacked(file: bytes) -> Any:
    """The schema's ``ModelT``, whose subgraphs are ``SubGraphT``; all other tables are ``Stored``."""
    model = _filled(_at(schema.Model, _QuickTable(file, schema.Model.GetRootAs(file, 0)._tab.Pos)))
    model.subgraphs = [_filled(stored._table) for stored in model.subgraphs]
    return model


class _QuickTable(flatbuffers.table.Table):  # type: ignore[misc]  # flatbuffers has no types
    """One that unpacks without a view of the whole file, and three calls, for each number."""

    def __init__(self, file: bytes, position: int) -> None:
        self.Bytes, self.Pos = file, position

    def Offset(self, place: int) -> int:  # flatbuffers' name
        """Where a field is in the table, by its place in the vtable; 0 where the table has not the field."""
        file, at = self.Bytes, self.Pos
        vtable = at - _SIGNED.unpack_from(file, at)[0]
        return _SHORT.unpack_from(file, vtable + place)[0] if place < _SHORT.unpack_from(file, vtable)[0] else 0

    def Get(self, kind: Any, at: int) -> Any:  # flatbuffers' name
        """The number at ``at``."""
        return kind.packer_type.unpack_from(self.Bytes, at)[0]

    def VectorLen(self, offset: int) -> int:  # flatbuffers' name
        """How many elements the vector has that the table points to at ``offset``."""
        count: int = _UNSIGNED.unpack_from(self.Bytes, self.Vector(offset) - _UNSIGNED.size)[0]
        return count

    def Vector(self, offset: int) -> int:  # flatbuffers' name
        """Where its elements start."""
        at = self.Pos + offset
        start: int = at + _UNSIGNED.unpack_from(self.Bytes, at)[0] + _UNSIGNED.size
        return start

    def GetVectorAsNumpy(self, kind: Any, offset: int) -> NDArray[np.generic]:  # flatbuffers' name
        """Its elements, where they lie."""
        return np.frombuffer(self.Bytes, _little_endian(kind), self.VectorLen(offset), self.Vector(offset))


class _Noting(_QuickTable):
    """One that notes where the vector starts that was looked up last."""

    vector = 0

    def Vector(self, offset: int) -> int:  # flatbuffers' name
        """As a quick table's."""
        self.vector = super().Vector(offset)
        return self.vector


_little_endian = cache(flatbuffers.number_types.to_numpy_type)
"""The numpy dtype of one of flatbuffers' kinds of number."""


def _at(kind: type, table: _QuickTable) -> Any:
    """The schema's reader of a kind of table, of this one."""
    reader: Any = kind()
    reader._tab = table
    return reader


def _plain(kind: type) -> Any:
    """The schema's object for such a table, empty."""
    return getattr(schema, f"{kind.__name__}T")()


def _filled(table: Any) -> Any:
    filled = _plain(type(table))
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
    return lambda table: None if absent(table) else _tables(table, read, length(table))


def _tables(table: Any, read: Callable[[Any, int], Any], count: int) -> list[Stored]:
    """A vector of ``count`` tables, of which ``read`` finds one: it would look up the vector for each."""
    if not count:
        return []
    file = table._tab.Bytes
    noting = _Noting(file, table._tab.Pos)
    kind = type(read(_at(type(table), noting), 0))
    places = struct.unpack_from(f"<{count}I", file, noting.vector)
    return [Stored(kind, file, noting.vector + 4 * i + place) for i, place in enumerate(places)]


def _as_object(table: Any, field: str, value: Any) -> Any:
    if isinstance(value, int | bytes):
        return value
    if isinstance(value, flatbuffers.table.Table):  # a union: the schema's objects know which of its kinds it is
        if field in _UNIONS:
            return _UNIONS[field](_read(table, f"{field}Type"), value)
        return getattr(type(_plain(type(table))).InitFromObj(table), field)
    return Stored(type(value), value._tab.Bytes, value._tab.Pos) if hasattr(value, "_tab") else value
