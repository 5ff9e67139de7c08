"""How the ranges of activations settle as samples are added: were there enough, or too few? Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tflite_ptq.data.finding import NAMED, Finding, counted

Range = tuple[float, float]

TOLERANCE = 0.01  # of the width of the final range
# A range that still moved in the last fifth of the samples is not known to be settled.
_LAST_PART = 0.2
_GROWTH_BAD = 0.05


@dataclass(frozen=True)
class Checkpoint:
    """Minimum and maximum of each tensor, in real values, over the first ``samples`` samples."""

    samples: int
    ranges: Mapping[str, Range]


@dataclass(frozen=True)
class Settling:
    """``enough``: the first checkpoint from which on every range stayed within the tolerance of the final one.
    ``growth``: how far each tensor that moved in the last fifth of the samples still moved then, as a share of the
    width of its final range, the most first; empty where all are settled. ``tensors`` counts those judged."""

    samples: int
    enough: int
    growth: Mapping[str, float]
    tensors: int


def checkpoint_counts(samples: int, most: int) -> tuple[int, ...]:
    """The numbers of samples, ascending, after which to note the ranges: all of few, else ``most`` evenly spread."""
    if samples <= most:
        return tuple(range(1, samples + 1))
    return tuple(math.ceil(samples * step / most) for step in range(1, most + 1))


def settling(checkpoints: Sequence[Checkpoint], tolerance: float = TOLERANCE) -> Settling | None:
    """How the ranges settled; ``checkpoints`` ascending, the last one over all samples. ``None`` without two of them
    or without a tensor of finite range.

    A tensor's distance at a checkpoint is the larger of |min - final min| and |max - final max|, as a share of
    final max - final min. All ranges are widened to hold 0 first, as the quantizer widens them. A tensor that a
    checkpoint does not have counts as not settled there.
    """
    if len(checkpoints) < 2:
        return None
    last = checkpoints[-1]
    final = {name: with_zero(span) for name, span in last.ranges.items() if all(map(math.isfinite, span))}
    if not final:
        return None
    enough = last.samples
    for checkpoint in reversed(checkpoints[:-1]):
        if max(_distance(checkpoint, name, span) for name, span in final.items()) > tolerance:
            break
        enough = checkpoint.samples
    # Compared with the last checkpoint before the last part begins: with few checkpoints that part is longer.
    early = [checkpoint for checkpoint in checkpoints if checkpoint.samples <= (1 - _LAST_PART) * last.samples]
    start = early[-1] if early else checkpoints[0]
    moved = {name: _distance(start, name, span) for name, span in final.items()}
    growth = sorted(((name, share) for name, share in moved.items() if share > tolerance), key=lambda item: -item[1])
    return Settling(last.samples, enough, dict(growth), len(final))


def settling_finding(settled: Settling) -> Finding:
    """What the user reads: how many samples would have done, or that the ranges are still growing."""
    if not settled.growth:
        return Finding(
            "info",
            f"{settled.enough} of your {settled.samples} samples would have done for the ranges: from there on each "
            f"stayed within {TOLERANCE:.0%} of its final width",
            (),
            "",
        )
    most = max(settled.growth.values())
    by = f"by up to {most:.1%} of their width" if math.isfinite(most) else "from nothing"
    return Finding(
        "warning" if most > _GROWTH_BAD else "info",
        f"still growing at {settled.samples}: {len(settled.growth)} of {counted(settled.tensors, 'activation range')} "
        f"grew {by} over the last {_LAST_PART:.0%} of the samples",
        tuple(list(settled.growth)[:NAMED]),
        "add more (dataset.calibration.samples), or use a method that leaves outliers out (percentile, mse)",
    )


def _distance(checkpoint: Checkpoint, name: str, final: Range) -> float:
    if name not in checkpoint.ranges:
        return math.inf
    low, high = with_zero(checkpoint.ranges[name])
    moved = max(abs(low - final[0]), abs(high - final[1]))
    width = final[1] - final[0]
    return moved / width if width else 0.0


def with_zero(span: Range) -> Range:
    """Widened to hold zero, as the quantizer does: padding must be exact."""
    return min(span[0], 0.0), max(span[1], 0.0)
