"""The process' heap, told to keep what is freed.

A chunk of samples takes arrays of a few hundred kilobytes, which glibc's malloc gives back to the system at once and
asks for again with the next chunk. The system then clears every page anew, which takes longer than the arithmetic on
it. See mallopt(3).
"""

from __future__ import annotations

import ctypes
import sys

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_KEPT_BYTES = 2**26
_LARGEST_KEPT_BYTES = 2**25  # the largest threshold that glibc takes


def keep_freed_memory() -> None:
    """Up to 64 MiB of freed memory stay in the process from now on. Does nothing where malloc is not glibc's."""
    if sys.platform != "linux":
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, _LARGEST_KEPT_BYTES)
        mallopt(_M_TRIM_THRESHOLD, _KEPT_BYTES)
