"""How sure a median over processes is: bootstrap intervals. Pure, without numpy; seeded.

The unit is the process, not the inference: inferences of one process share its memory layout, its thread placement and
the moment it ran in, so their spread says little about the next process (Kalibera and Jones, "Rigorous benchmarking in
reasonable time", ISMM 2013: repeat at the highest level that varies and take the statistics there). Resampling
inferences within processes as well would add what the processes' medians already hold.

A percentile bootstrap (Efron 1979) of so few medians covers less than it says. So each interval is never narrower
than that of order statistics, which covers the population's median with a probability known from the binomial
distribution alone (the sign test's interval; Conover, "Practical Nonparametric Statistics", 3.2). Of fewer than
``LEAST`` processes not even the whole range from smallest to largest covers 95 % (five: 93.75 %), and there is no
interval. Rounds are added until an interval is narrow enough, which costs a little coverage (it stops where the data
happen to agree).
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from statistics import median

from tflite_ptq.result import Interval

LEAST = 6
CONFIDENCE = 0.95
_RESAMPLES = 2000
_SEED = 0


def median_interval(medians: Sequence[float]) -> Interval | None:
    """Of the median of ``medians`` (one a process, in any unit); ``None`` for fewer than ``LEAST``."""
    return _interval(medians, lambda chosen: median([medians[i] for i in chosen]))


def ratio_interval(numerators: Sequence[float], denominators: Sequence[float]) -> Interval | None:
    """Of median(numerators) / median(denominators); entry i of both is from round i (paired: what disturbed the round
    disturbed both). All above 0. ``None`` for fewer than ``LEAST`` rounds."""
    return _interval(
        [above / below for above, below in zip(numerators, denominators, strict=True)],
        lambda chosen: median([numerators[i] for i in chosen]) / median([denominators[i] for i in chosen]),
    )


def _interval(values: Sequence[float], statistic: Callable[[Sequence[int]], float]) -> Interval | None:
    """``values`` are what the order statistics are taken of, ``statistic`` gives that of a choice of rounds."""
    count = len(values)
    if count < LEAST:
        return None
    draw = random.Random(_SEED)
    resampled = sorted(statistic(draw.choices(range(count), k=count)) for _ in range(_RESAMPLES))
    tail = round(_RESAMPLES * (1 - CONFIDENCE) / 2)
    ordered, rank, point = sorted(values), _rank(count), statistic(range(count))
    return Interval(
        low=min(resampled[tail], ordered[rank], point),
        high=max(resampled[-1 - tail], ordered[-1 - rank], point),
        confidence=CONFIDENCE,
    )


def _rank(count: int) -> int:
    """The largest k for which [x(k+1), x(n-k)] covers the median with ``CONFIDENCE``: the median lies outside when at
    most k of n values are on one side of it, 2 * P(Binomial(n, 1/2) <= k)."""
    rank, outside = 0, 2 * 0.5**count
    while True:
        outside += 2 * math.comb(count, rank + 1) * 0.5**count
        if outside > 1 - CONFIDENCE:
            return rank
        rank += 1
