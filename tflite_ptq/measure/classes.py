"""The class that scores choose, and by how much it leads the right one. Pure."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Reals = NDArray[np.float64]
Classes = NDArray[np.int64]


def chosen(scores: Reals) -> Classes:
    """The class of each sample (N,) for ``scores`` (N, K): the highest score, the lowest index of equals.

    K = 1 is the probability of class 1: above 0.5 it is chosen, else class 0.
    """
    if scores.shape[1] == 1:
        return np.asarray(scores[:, 0] > 0.5, np.int64)
    return np.asarray(scores.argmax(axis=1), np.int64)


def told(outputs: NDArray[np.generic]) -> Classes | None:
    """The class of each sample (n,) where ``outputs`` (n, ...) hold one integer each, as an arg max does; ``None`` for
    any other output."""
    if outputs.dtype.kind not in "iu" or outputs.size != len(outputs):
        return None
    return outputs.reshape(-1).astype(np.int64)


def margins(scores: Reals, classes: Classes, labels: Classes) -> Reals:
    """The score of ``classes`` minus that of ``labels``, both (N,) and in range, for ``scores`` (N, K): (N,).

    K = 1 is the probability p of class 1; class 0 scores 1 - p.
    """
    if scores.shape[1] == 1:
        scores = np.hstack([1 - scores, scores])
    rows = np.arange(len(scores))
    ahead: Reals = scores[rows, classes] - scores[rows, labels]
    return ahead
