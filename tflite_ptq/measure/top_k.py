"""Whether the labelled class is among the k with the highest scores. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Union

import numpy as np
from numpy.typing import NDArray

from tflite_ptq.errors import DataError, MeasurementError
from tflite_ptq.measure.classes import chosen, told

Array = NDArray[np.generic]
Label = Union[int, float, None]
TOP = {"top1": 1, "top5": 5}
"""How many classes a top-k metric lets the labelled one be among."""


def hits(name: str, outputs: Array, labels: Sequence[Label], samples: Sequence[str]) -> NDArray[np.float64]:
    """1.0 for a hit and 0.0 for a miss, (n,), of ``name`` (``top1`` or ``top5``) on ``outputs`` (n, 1, ..., K).

    Among equal scores the lower index comes first, as with arg max; quantized scores tie often. One score a sample is
    the probability of class 1, one integer a sample is the class. Raises ``DataError`` for a label that is missing or
    out of range (the first in order), ``MeasurementError`` for outputs that are no scores of k classes.
    """
    best, indices = TOP[name], told(outputs)
    if indices is not None:
        if best > 1:
            raise MeasurementError(f"metric {name}: the output is one class and ranks none behind it; use top1")
        return np.asarray(indices == _any_classes(labels, samples), np.float64)
    scores = _class_scores(name, outputs)
    count = scores.shape[1]
    if best > count:
        raise MeasurementError(f"metric {name}: the output has only {count} classes; use top1")
    classes = _classes(labels, count, samples)
    if best == 1:
        return np.asarray(chosen(scores) == classes, np.float64)
    # (n, 1): the score of the labelled class
    own = scores[np.arange(len(scores)), classes][:, np.newaxis]
    ahead = (scores > own) | ((scores == own) & (np.arange(count) < classes[:, np.newaxis]))
    return np.asarray(ahead.sum(axis=1) < best, np.float64)


def predictions(name: str, outputs: Array, labels: Sequence[Label], samples: Sequence[str]) -> NDArray[np.float64]:
    """The class chosen for each sample, (n,), where ``hits`` would say whether it is the labelled one; the same
    errors."""
    indices = told(outputs)
    if indices is not None:
        _any_classes(labels, samples)
        return indices.astype(np.float64)
    scores = _class_scores(name, outputs)
    _classes(labels, scores.shape[1], samples)
    return chosen(scores).astype(np.float64)


def _class_scores(name: str, outputs: Array) -> NDArray[np.float64]:
    # (n, 1, ..., K) -> (n, K)
    scores: NDArray[np.float64] = outputs.reshape(len(outputs), -1).astype(np.float64)
    if outputs.ndim == 1 or scores.shape[1] != outputs.shape[-1]:
        raise MeasurementError(
            f"metric {name}: the output has shape {outputs.shape[1:]}, not one score a class (1, K); "
            "name another output or use a module:function metric"
        )
    return scores


def _classes(labels: Sequence[Label], count: int, samples: Sequence[str]) -> NDArray[np.int64]:
    return np.array([class_of(label, max(count, 2), sample) for label, sample in zip(labels, samples, strict=True)])


def _any_classes(labels: Sequence[Label], samples: Sequence[str]) -> NDArray[np.int64]:
    """Of a model that does not say how many classes it knows."""
    return np.array([class_index(label, sample) for label, sample in zip(labels, samples, strict=True)])


def class_index(label: Label, sample: str) -> int:
    """``label`` as a whole number; raises ``DataError`` where it is none."""
    if label is None:
        raise DataError(f"{sample}: has no label; set dataset.evaluation.labels")
    if label != int(label):
        raise DataError(f"{sample}: label {label} is not a class index; use mae or mse for numeric targets")
    return int(label)


def class_of(label: Label, classes: int, sample: str) -> int:
    """``label`` as one of ``classes`` classes; raises ``DataError`` where it is none."""
    index = class_index(label, sample)
    if not 0 <= index < classes:
        raise DataError(
            f"{sample}: label {index} is out of range: the output has {classes} classes (0 to {classes - 1}); "
            "correct the labels or dataset.classes"
        )
    return index
