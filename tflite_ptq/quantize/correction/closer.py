"""When one way to make a variant counts as closer to float32 than another: by paired differences, beyond chance."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence

EXACT_DB = 300.0
"""What the closeness of outputs without any noise is counted as."""
_CONFIDENCE = 0.975


def unless_exact(closeness_db: float) -> float | None:
    """A closeness as it is told: ``None`` where there is no noise."""
    return None if closeness_db >= EXACT_DB else closeness_db


def surely_closer(one: Sequence[float], other: Sequence[float]) -> bool:
    """Whether outputs of closeness ``one`` (SQNR in dB by sample held back) are closer to float32 than those of
    ``other`` on the same samples, by more than chance: zero below the 95 % interval of the mean of the paired
    differences (Student's t: two standard errors where samples are many, more of few), and no more noise in all. The
    second because clipping may serve most samples a little and one very badly, which a mean of logarithms forgives."""
    if len(one) != len(other) or len(one) < 2 or _noise(one) > _noise(other):
        return False
    from scipy.special import stdtrit  # a third of a second that most commands never need

    quantile = float(stdtrit(len(one) - 1, _CONFIDENCE))
    return beyond_chance([a - b for a, b in zip(one, other, strict=True)], quantile)


def closest(plain: Sequence[float], others: Sequence[Sequence[float]]) -> int | None:
    """Of ``others``, the place of the closest on average among those surely closer than ``plain``; ``None`` where none
    is. They need not be surely closer than each other: whichever is taken does no harm."""
    sure = [place for place, other in enumerate(others) if surely_closer(other, plain)]
    return max(sure, key=lambda place: statistics.fmean(others[place]), default=None)


def beyond_chance(gains: Sequence[float], standard_errors: float) -> bool:
    """Whether the mean of paired differences is above zero by more than so many of its standard errors; of one
    difference alone none is known, and it counts as it is."""
    error = statistics.stdev(gains) / math.sqrt(len(gains)) if len(gains) > 1 else 0.0
    return statistics.fmean(gains) > standard_errors * error


def _noise(closeness_db: Sequence[float]) -> float:
    """Over all samples held back, relative to the power of the outputs."""
    return math.fsum(10 ** (-value / 10) for value in closeness_db)
