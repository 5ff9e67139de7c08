"""Shares of samples and how sure they are: one share, and the change of a share on the same samples. Pure.

Counts of pairs: ``lost`` samples were hits before and are misses now, ``won`` samples the reverse. Only these say
anything about a change; a sample that is a hit (or a miss) both times does not.
"""

from __future__ import annotations

import math
from functools import partial

from scipy.optimize import brentq
from scipy.stats import binomtest, norm

from tflite_ptq.result import Interval

CONFIDENCE = 0.95
_NEAREST_TO_ONE = 1 - 1e-12
_TOLERANCE = 1e-10


def share_interval(hits: int, samples: int) -> Interval:
    """Wilson's score interval for the share ``hits / samples`` (Wilson 1927); at least one sample."""
    found = binomtest(hits, samples).proportion_ci(CONFIDENCE, method="wilson")
    return Interval(low=float(found.low), high=float(found.high), confidence=CONFIDENCE)


def mcnemar_p(lost: int, won: int) -> float:
    """The p-value of McNemar's exact test that nothing changed: ``lost`` and ``won`` are then equally likely."""
    return float(binomtest(lost, lost + won).pvalue) if lost + won else 1.0


def change_interval(lost: int, won: int, samples: int) -> Interval:
    """Tango's score interval for the change (won - lost) / samples (Statistics in Medicine 17, 891-908, 1998).

    It holds the changes that the score form of McNemar's test does not reject, and, unlike the interval by the normal
    approximation, it has a width where no sample changed. ``samples`` counts all pairs and is at least 1.
    """
    estimate = (won - lost) / samples
    z = float(norm.ppf((1 + CONFIDENCE) / 2))

    def limit(sign: int) -> float:
        end = sign * _NEAREST_TO_ONE
        if sign * estimate >= _NEAREST_TO_ONE:
            return float(sign)
        beyond = partial(_beyond, lost=lost, won=won, samples=samples, z=-sign * z)
        return float(brentq(beyond, estimate, end, xtol=_TOLERANCE))

    return Interval(low=min(limit(-1), estimate), high=max(limit(1), estimate), confidence=CONFIDENCE)


def _beyond(change: float, *, lost: int, won: int, samples: int, z: float) -> float:
    """The score statistic of the hypothesis that the true change is ``change``, minus ``z``."""
    # Under the hypothesis the probability of a loss is the larger root of 2n p^2 + b p + c = 0 (Tango's equation 5,
    # the constrained maximum of the likelihood), that of a win is p + change.
    b = (2 * samples + lost - won) * change - lost - won
    c = lost * change * (change - 1)
    p = (math.sqrt(max(b * b - 8 * samples * c, 0.0)) - b) / (4 * samples)
    variance = samples * (2 * p + change * (1 - change))
    distance = won - lost - samples * change
    if variance <= 0:
        return math.copysign(math.inf, distance) if distance else -z
    return distance / math.sqrt(variance) - z
