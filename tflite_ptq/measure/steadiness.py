"""When a warm-up has done its work. Pure; imports nothing, for the process that times."""

from __future__ import annotations

from collections.abc import Sequence

BLOCK_NS = 20_000_000
"""A block of warm-up lasts at least so long: what settles within microseconds must not pass for steady while the
processor still raises its clock (milliseconds)."""
TOLERANCE = 0.02
_LEAST = 4


def steady(block_ns: Sequence[int]) -> bool:
    """Whether the later half of a block of inferences takes as long as the earlier one: medians within ``TOLERANCE``.

    Medians, so that one interruption does not count. Fewer than four inferences show nothing.
    """
    if len(block_ns) < _LEAST:
        return False
    half = len(block_ns) // 2
    earlier, later = _median(block_ns[:half]), _median(block_ns[-half:])
    return abs(later - earlier) <= TOLERANCE * max(earlier, later)


def _median(values: Sequence[int]) -> float:
    ordered = sorted(values)
    return (ordered[(len(ordered) - 1) // 2] + ordered[len(ordered) // 2]) / 2
