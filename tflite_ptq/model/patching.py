"""Ranges written into a packed ``.tflite`` without packing: new tables behind the file, and the old ones pointed there.

A flatbuffer's table points forward, so what it is to point to may lie behind all the rest
(https://flatbuffers.dev/internals/). Of each tensor only the four bytes change that say where its quantization is.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from tflite_ptq.model.table_rows import distance
from tflite_ptq.model.tables import Stored

_QUANTIZATION = 4 + 2 * 4
"""In the vtable of a Tensor: the fifth field of the schema."""
_VTABLE = np.array([8, 12, 4, 8], np.uint16).tobytes()
"""Of QuantizationParameters that hold ``min`` and ``max``, the first two fields of the schema: its own size, the
table's, and where in that the two are."""
_TABLE = np.dtype(
    [
        ("vtable", "<i4"),
        ("min", "<u4"),
        ("max", "<u4"),
        ("mins", "<u4"),
        ("low", "<f4"),
        ("maxs", "<u4"),
        ("high", "<f4"),
    ]
)
"""Such a table and the two vectors of one number that follow it."""


def with_ranges(file: bytes, tensors: Mapping[Any, tuple[float, float]]) -> bytes | None:
    """``file`` with ``quantization.min`` and ``.max`` of its ``tensors``, tables read from it, in place of all else of
    their quantization; ``None`` where one is not of the file as it is, or has no quantization to be replaced."""
    places = []
    for tensor in tensors:
        place = tensor.place(_QUANTIZATION) if isinstance(tensor, Stored) and tensor.is_of(file) else None
        if place is None:
            return None
        places.append(place)
    start = len(file) + -len(file) % 4
    tables = np.empty(len(places), _TABLE)
    at = start + len(_VTABLE) + _TABLE.itemsize * np.arange(len(places))
    tables["vtable"] = at - start
    tables["min"], tables["max"] = distance(_TABLE, "min", "mins"), distance(_TABLE, "max", "maxs")
    tables["mins"] = tables["maxs"] = 1
    tables["low"], tables["high"] = np.array(list(tensors.values()), np.float32).reshape(-1, 2).T
    patched = bytearray(file)
    for place, table in zip(places, at.tolist(), strict=True):
        patched[place : place + 4] = (table - place).to_bytes(4, "little")
    return b"".join((patched, bytes(start - len(file)), _VTABLE, tables.tobytes()))
