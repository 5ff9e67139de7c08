"""Arrays where they lie in ``.npy``, ``.npz`` and raw files: headers first, values read in place and piecewise.

Values are read at an offset and not through a memory map: pages touched in a map count as the process' memory, and a
long recording would then cost more the more of it is used.
"""

from __future__ import annotations

import math
import struct
import threading
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray

from tflite_ptq.data.bad_sample import BadSample
from tflite_ptq.errors import DataError

Array = NDArray[np.generic]
BROKEN = (OSError, ValueError, EOFError, KeyError, struct.error, zipfile.BadZipFile, zlib.error)
"""What numpy and zipfile raise for a file that is not what its name says."""

_LOCAL_HEADER_BYTES = 30
_lock = threading.Lock()


@dataclass(frozen=True)
class Stored:
    """An uncompressed array in ``file``: ``shape`` of ``dtype``, from byte ``offset`` on.

    ``member`` names the array of a compressed ``.npz``, which can only be read whole.
    """

    file: Path
    dtype: np.dtype[np.generic]
    shape: tuple[int, ...]
    offset: int
    fortran: bool = False
    member: str | None = None

    def values(self, start: int, count: int) -> Array:
        """``count`` values from flat (C order) position ``start`` on, shape ``(count,)``, native byte order.

        Raises BadSample where the file ends early.
        """
        if self.member is not None:
            return _whole_member(self.file, self.member).reshape(-1)[start : start + count]
        if self.fortran:
            return np.asarray(np.load(self.file, allow_pickle=False)).reshape(-1)[start : start + count]
        try:
            got = np.fromfile(self.file, self.dtype, count, offset=self.offset + start * self.dtype.itemsize)
        except OSError as error:
            raise unreadable(self.file, error) from error
        if got.size != count:
            raise BadSample(
                f"{self.file}: the file is truncated: {count} {self.dtype.name} values expected from value {start} "
                f"on, got {got.size}; write the file again"
            )
        return native(got)

    def sample(self, index: int) -> Array:
        """Entry ``index`` along axis 0, shape ``shape[1:]``."""
        count = math.prod(self.shape[1:])
        return self.values(index * count, count).reshape(self.shape[1:])


def native(array: Array) -> Array:
    """The same values in this machine's byte order."""
    return array if array.dtype.isnative else array.astype(array.dtype.newbyteorder("="))


def stacked(arrays: Sequence[Array]) -> Array | None:
    """n arrays of one shape and dtype as (n, ...); None where these differ."""
    first = arrays[0]
    if any(array.shape != first.shape or array.dtype != first.dtype for array in arrays):
        return None
    return np.stack(arrays)


def unreadable(file: Path, error: Exception) -> BadSample:
    """What a broken or foreign file is answered with."""
    reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error) or type(error).__name__
    if "allow_pickle" in reason:  # numpy's guess at any file that does not begin as an array does
        reason = f"it is no {file.suffix} file, or holds pickled Python objects"
    return BadSample(f"{file}: cannot be read: {reason}; write the file again or remove it")


@lru_cache(maxsize=256)
def npy_header(file: Path) -> Stored:
    """Where the array of a ``.npy`` file lies. Raises BadSample where it is not one, or holds Python objects."""
    try:
        with file.open("rb") as stream:
            shape, fortran, dtype = _header(stream)
            return Stored(file, dtype, shape, stream.tell(), fortran)
    except BROKEN as error:
        raise unreadable(file, error) from error


@lru_cache(maxsize=256)
def npz_headers(file: Path) -> dict[str, Stored]:
    """The arrays of an ``.npz`` file by name; compressed ones are marked as members. Raises BadSample."""
    found: dict[str, Stored] = {}
    try:
        with zipfile.ZipFile(file) as archive, file.open("rb") as stream:
            for info in archive.infolist():
                if not info.filename.endswith(".npy"):
                    continue
                name = info.filename[: -len(".npy")]
                if info.compress_type == zipfile.ZIP_STORED:
                    stream.seek(info.header_offset)
                    name_bytes, extra_bytes = struct.unpack("<HH", stream.read(_LOCAL_HEADER_BYTES)[26:30])
                    stream.seek(info.header_offset + _LOCAL_HEADER_BYTES + name_bytes + extra_bytes)
                    shape, fortran, dtype = _header(stream)
                    found[name] = Stored(file, dtype, shape, stream.tell(), member=name if fortran else None)
                else:
                    with archive.open(info) as member:
                        shape, fortran, dtype = _header(member)
                    found[name] = Stored(file, dtype, shape, 0, fortran, member=name)
    except BROKEN as error:
        raise unreadable(file, error) from error
    if not found:
        raise BadSample(f"{file}: holds no arrays; write it with numpy.savez")
    return found


def window_count(file: Path, values: int, shape: tuple[int, ...], stride: int) -> int:
    """How many whole windows of ``shape`` lie in a recording of ``values``; what is left at its end is dropped.

    Raises DataError where there is none.
    """
    window = math.prod(shape)
    if values < window:
        raise DataError(
            f"{file}: a window of shape {list(shape)} needs {window} values, the recording has {values}; "
            "lower dataset.format.shape or remove the file"
        )
    return (values - window) // stride + 1


def _header(stream: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype[np.generic]]:
    version = np.lib.format.read_magic(stream)
    if version == (1, 0):
        shape, fortran, dtype = np.lib.format.read_array_header_1_0(stream)
    elif version == (2, 0):
        shape, fortran, dtype = np.lib.format.read_array_header_2_0(stream)
    else:
        raise ValueError(f".npy format {version[0]}.{version[1]} (structured arrays) is not supported")
    if dtype.hasobject:
        raise ValueError("it holds pickled Python objects, not numbers (they could run code)")
    return tuple(shape), bool(fortran) and len(shape) > 1, dtype


@lru_cache(maxsize=8)
def _loaded_member(file: Path, name: str) -> Array:
    with np.load(file, allow_pickle=False) as archive:
        array: Array = archive[name]
    return native(array)


def _whole_member(file: Path, name: str) -> Array:
    try:
        with _lock:  # two threads that miss at once would both unpack the whole array
            return _loaded_member(file, name)
    except BROKEN as error:
        raise unreadable(file, error) from error
