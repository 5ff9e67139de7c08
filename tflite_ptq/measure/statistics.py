"""Figures as functions of resamples, vectorized: what the bootstrap needs of a metric. Pure.

With every sample counted once each gives what ``metrics.aggregate`` gives, which for most is scikit-learn's own.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from tflite_ptq.measure.resampling import Statistic

Reals = NDArray[np.float64]
Classes = NDArray[np.int64]


def mean(scores: Reals) -> Statistic:
    """The mean of ``scores`` (N,)."""
    return Statistic(lambda counts: counts @ scores / counts.sum(1))


def root_mean(scores: Reals) -> Statistic:
    """The root of the mean of ``scores`` (N,), squared errors."""
    return Statistic(lambda counts: np.sqrt(counts @ scores / counts.sum(1)))


def ratio(numerators: Reals, denominators: Reals) -> Statistic:
    """The sum of one (N,) over the sum of the other (N,): errors over words, say."""
    return Statistic(lambda counts: _divided(counts @ numerators, counts @ denominators), work=2)


def mean_ratio(numerators: Reals, denominators: Reals) -> Statistic:
    """Class by class (N, K) the sum over the sum, then the mean over the classes that occur: mean IoU."""

    def of(counts: Reals) -> Reals:
        return _mean_over(_divided(counts @ numerators, counts @ denominators))

    return Statistic(of, work=2 * numerators.shape[1])


def macro_f1(predicted: Classes, labels: Classes) -> Statistic:
    """F1 = 2 TP / (2 TP + FP + FN) of each class that occurs among labels or predictions, then their mean."""
    right, true, taken = _indicators(predicted, labels)

    def of(counts: Reals) -> Reals:
        return _mean_over(_divided(2 * (counts @ right), counts @ true + counts @ taken))

    return Statistic(of, work=4)


def balanced_accuracy(predicted: Classes, labels: Classes) -> Statistic:
    """The mean recall over the classes that occur among the labels."""
    right, true, _ = _indicators(predicted, labels)
    return Statistic(lambda counts: _mean_over(_divided(counts @ right, counts @ true)), work=3)


def roc_auc(scores: Reals, classes: Classes) -> Statistic:
    """The area under the ROC curve; ``scores`` (N,) or (N, K), one class against the rest where K > 2, averaged over
    the classes that occur. NaN for a resample without both sides."""
    if scores.ndim == 2 and scores.shape[1] == 2:
        scores = scores[:, 1]
    if scores.ndim == 1:
        return Statistic(_area(scores, classes == 1), work=4)
    present = np.unique(classes)
    areas = [_area(scores[:, value], classes == value) for value in present]
    return Statistic(lambda counts: _mean_over(np.stack([area(counts) for area in areas], 1)), work=4 * len(areas))


def _area(scores: Reals, positive: NDArray[np.bool_]) -> Callable[[Reals], Reals]:
    """Pairs of a positive and a negative that stand in the right order, over all pairs; a tie is half a pair."""
    order = np.argsort(scores, kind="stable")
    starts = np.flatnonzero(np.r_[True, np.diff(scores[order]) > 0])
    sides = positive[order]

    def of(counts: Reals) -> Reals:
        sorted_counts = counts[:, order]
        ups = np.add.reduceat(sorted_counts * sides, starts, axis=1)
        downs = np.add.reduceat(sorted_counts * ~sides, starts, axis=1)
        below = np.cumsum(downs, axis=1) - downs / 2
        return _divided((ups * below).sum(1), ups.sum(1) * downs.sum(1))

    return of


def _indicators(predicted: Classes, labels: Classes) -> tuple[csr_array, csr_array, csr_array]:
    """Three matrices of 0 and 1, (N, K): right, of this class, taken for this class; K: the classes that occur."""
    present = np.unique(np.concatenate([predicted, labels]))
    true, taken = np.searchsorted(present, labels), np.searchsorted(present, predicted)
    rows = np.arange(len(labels))
    shape = (len(labels), len(present))
    right = predicted == labels
    ones = np.ones(len(labels))
    return (
        csr_array((right.astype(np.float64), (rows, true)), shape),
        csr_array((ones, (rows, true)), shape),
        csr_array((ones, (rows, taken)), shape),
    )


def _divided(numerators: Reals, denominators: Reals) -> Reals:
    """NaN where there is nothing to divide by."""
    quotients: Reals = np.full(numerators.shape, np.nan)
    np.divide(numerators, denominators, out=quotients, where=denominators > 0)
    return quotients


def _mean_over(by_class: Reals) -> Reals:
    """(R, K) to (R,): the mean over the classes that have a figure."""
    known = np.isfinite(by_class)
    return _divided(np.where(known, by_class, 0).sum(1), known.sum(1).astype(np.float64))
