"""A flatbuffer's tables of one form as the rows of a numpy array: where their fields are."""

from __future__ import annotations

from typing import Any

import numpy as np


def place(row: np.dtype[Any], field: str) -> int:
    """Of a field in its row, in bytes."""
    fields = row.fields
    assert fields is not None
    return int(fields[field][1])


def distance(row: np.dtype[Any], field: str, target: str) -> int:
    """From a field to what it points to in its row, in bytes."""
    return place(row, target) - place(row, field)
