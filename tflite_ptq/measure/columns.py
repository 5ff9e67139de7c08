"""Values by sample index, put in piece by piece and from several workers. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.generic]
Indices = NDArray[np.int64]
_NOTHING = {"f": np.nan, "i": -1, "b": False}
"""What stands where nothing was put, by the kind of dtype."""


@dataclass(frozen=True)
class Rows:
    """The values at some sample indices: what a worker sends."""

    indices: Indices
    columns: Mapping[str, Array]
    uneven: frozenset[str]


class Columns:
    """Arrays (``samples``, ...) by key, made when their first values come.

    Where nothing was put, float columns hold NaN, integer ones -1 and boolean ones False. A key whose values change
    their shape from sample to sample is ``uneven`` and not kept.
    """

    def __init__(self, samples: int) -> None:
        self._samples = samples
        self._columns: dict[str, Array] = {}
        self.uneven: set[str] = set()

    def put(self, key: str, at: slice | Indices, values: Array) -> None:
        """Keep ``values`` (n, ...) at n sample indices."""
        if key in self.uneven:
            return
        column = self._columns.get(key)
        if column is None:
            nothing = _NOTHING.get(values.dtype.kind, 0)
            column = self._columns[key] = np.full((self._samples, *values.shape[1:]), nothing, values.dtype)
        if column.shape[1:] != values.shape[1:]:
            self._columns.pop(key)
            self.uneven.add(key)
            return
        column[at] = values

    def get(self, key: str, at: Indices) -> Array | None:
        """The values (n, ...) at n sample indices; None where there are none."""
        column = self._columns.get(key)
        return None if column is None else column[at]

    def reals(self, key: str, at: Indices) -> NDArray[np.float64] | None:
        """``get`` of a float column."""
        values = self.get(key, at)
        return None if values is None else values.astype(np.float64, copy=False)

    def beside(self, keys: Sequence[str], at: Indices) -> NDArray[np.float64]:
        """Float columns that are there, (n, keys)."""
        return np.stack([self._columns[key][at].astype(np.float64, copy=False) for key in keys], axis=1)

    def whole(self, key: str, at: Indices) -> NDArray[np.int64] | None:
        """``get`` of an integer column."""
        values = self.get(key, at)
        return None if values is None else values.astype(np.int64, copy=False)

    def keys(self, prefix: str) -> list[str]:
        """The keys, uneven ones too, that begin with ``prefix``, in the order they came."""
        return [key for key in (*self._columns, *sorted(self.uneven)) if key.startswith(prefix)]

    def rows(self, at: Indices) -> Rows:
        """All values at some sample indices."""
        return Rows(at, {key: column[at] for key, column in self._columns.items()}, frozenset(self.uneven))

    def absorb(self, rows: Rows) -> None:
        """Take in what another worker put."""
        for key in rows.uneven:
            self._columns.pop(key, None)
            self.uneven.add(key)
        for key, values in rows.columns.items():
            self.put(key, rows.indices, values)
