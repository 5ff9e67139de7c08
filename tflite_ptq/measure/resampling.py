"""The bootstrap over samples: how a figure varies where the samples had been drawn anew. Pure and seeded.

All statistics of one call see the same resamples, so the difference of two of them is paired, sample by sample.
A resample is told as counts: how often it holds each sample, (R, N) for R resamples of N samples.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import DegenerateDataWarning, bootstrap

from tflite_ptq.measure.proportions import CONFIDENCE
from tflite_ptq.result import Interval

Reals = NDArray[np.float64]

_SEED = 20_260_101
_MOST_RESAMPLES, _LEAST_RESAMPLES = 2000, 200
_WORK = 50_000_000
"""Values that are looked at in all resamples together, where the least number of resamples allows."""
_MOST_WORK = 4_000_000_000
_BATCH = 4_000_000
"""Counts in memory at once."""


@dataclass(frozen=True)
class Statistic:
    """A figure as a function of resamples: counts (R, N) to figures (R,), NaN where a resample has no figure.

    ``work`` is how many values a sample contributes: how costly it is.
    """

    of: Callable[[Reals], Reals]
    work: int = 1


def affordable(statistic: Statistic, samples: int) -> bool:
    """Whether even the least number of resamples can be had in seconds rather than minutes."""
    return statistic.work * samples * _LEAST_RESAMPLES <= _MOST_WORK


def resampled(statistics: Sequence[Statistic], samples: int, most: int = _MOST_RESAMPLES) -> Reals:
    """The figures of ``statistics`` over the same resamples of so many samples (two at least), (len(statistics), R).

    R is at most ``most``, and fewer where there are many samples: percentiles of a mean over 50,000 samples are as
    sure with hundreds of resamples as those of a mean over 50 with thousands.
    """
    heaviest = max(statistic.work for statistic in statistics)
    count = min(most, max(_LEAST_RESAMPLES, _WORK // (samples * heaviest)))

    def figures(drawn: NDArray[np.int64], axis: int) -> Reals:
        counts = _counts(drawn, samples)
        return np.stack([statistic.of(counts) for statistic in statistics])

    with warnings.catch_warnings():
        # A resample without a figure makes scipy's own interval NaN, of which it warns; ours leaves it out.
        warnings.simplefilter("ignore", DegenerateDataWarning)
        found = bootstrap(
            (np.arange(samples),),
            figures,
            vectorized=True,
            n_resamples=count,
            batch=max(1, _BATCH // samples),
            method="percentile",
            rng=np.random.default_rng(_SEED),
        )
    return np.asarray(found.bootstrap_distribution, np.float64)


def percentile_interval(figures: Reals, value: float) -> Interval | None:
    """The middle 95 % of ``figures`` (R,), widened to hold ``value`` where a skewed statistic leaves it outside.

    None where hardly any resample has a figure.
    """
    finite = figures[np.isfinite(figures)]
    if 2 * finite.size < figures.size or not finite.size:
        return None
    low, high = np.quantile(finite, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return Interval(low=min(float(low), value), high=max(float(high), value), confidence=CONFIDENCE)


def bootstrap_p(changes: Reals) -> float | None:
    """The two-sided p-value that nothing changed, from the changes in R resamples: twice the share on the rarer side
    of 0, each side counting the observed sample too, so that it is never 0 (Davison and Hinkley 1997, section 4.2)."""
    finite = changes[np.isfinite(changes)]
    if 2 * finite.size < changes.size or not finite.size:
        return None
    rarer = min(int((finite <= 0).sum()), int((finite >= 0).sum()))
    p: float = min(1.0, 2 * (1 + rarer) / (1 + finite.size))
    return p


def _counts(drawn: NDArray[np.int64], samples: int) -> Reals:
    """Indices (R, N) to how often each sample was drawn, (R, N)."""
    rows = len(drawn)
    places = drawn + samples * np.arange(rows)[:, np.newaxis]
    return np.bincount(places.ravel(), minlength=rows * samples).reshape(rows, samples).astype(np.float64)
