"""From the values of all samples to one figure, and to the same figure of resamples. Pure.

``scores`` are what ``metrics`` keeps a sample, (N,) or (N, ...), ``truths`` what the samples are held against, both in
sample order.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from tflite_ptq.data.targets import Boxes, Target
from tflite_ptq.errors import MeasurementError
from tflite_ptq.measure import coco_map, statistics
from tflite_ptq.measure.ranking import roc_auc
from tflite_ptq.measure.resampling import Statistic
from tflite_ptq.measure.top_k import class_index
from tflite_ptq.recipe.metric import Metric

Reals = NDArray[np.float64]
Truth = int | float | Target


def aggregate(metric: Metric, scores: Reals, truths: Sequence[Truth]) -> float:
    """One figure. Raises ``MeasurementError`` where there is none, ``DataError`` for labels that are no classes.

    Shares and errors are means, added exactly (``math.fsum``); F1, balanced accuracy and ROC AUC are scikit-learn's.
    """
    if not len(scores):
        raise MeasurementError(f"metric {metric.name}: there is no sample to measure")
    match metric.name:
        case "roc_auc":
            return roc_auc(scores, classes_of(truths))
        case "f1":
            # Takes most of a second, and few recipes need it.
            from sklearn.metrics import f1_score

            return float(f1_score(classes_of(truths), scores.astype(np.int64), average="macro", zero_division=0))
        case "balanced_accuracy":
            from sklearn.metrics import recall_score

            # Of the classes that occur: balanced_accuracy_score is the same, but warns of others.
            classes = classes_of(truths)
            occur = np.unique(classes)
            return float(recall_score(classes, scores.astype(np.int64), labels=occur, average="macro"))
        case "rmse":
            return math.sqrt(math.fsum(scores) / len(scores))
        case "mean_iou" | "wer":
            return _known(metric, float(statistic(metric, scores, truths).of(np.ones((1, len(scores))))[0]))
        case "coco_map":
            return coco_map.mean_average_precision(metric, scores, _boxes(truths))
    return math.fsum(scores) / len(scores)


def statistic(metric: Metric, scores: Reals, truths: Sequence[Truth]) -> Statistic:
    """The figure of ``aggregate`` as a function of resamples."""
    match metric.name:
        case "roc_auc":
            return statistics.roc_auc(scores, classes_of(truths))
        case "f1":
            return statistics.macro_f1(scores.astype(np.int64), classes_of(truths))
        case "balanced_accuracy":
            return statistics.balanced_accuracy(scores.astype(np.int64), classes_of(truths))
        case "rmse":
            return statistics.root_mean(scores)
        case "wer":
            return statistics.ratio(scores[:, 0], scores[:, 1])
        case "mean_iou":
            half = scores.shape[1] // 2
            return statistics.mean_ratio(scores[:, :half], scores[:, half:])
        case "coco_map":
            return coco_map.statistic(metric, scores, _boxes(truths))
    return statistics.mean(scores)


def classes_of(truths: Sequence[Truth]) -> NDArray[np.int64]:
    """Labels as class indices (N,). Raises ``DataError`` where one is none."""
    labels = (truth if isinstance(truth, (int, float)) else None for truth in truths)
    return np.array([class_index(label, "dataset.evaluation") for label in labels], np.int64)


def _boxes(truths: Sequence[Truth]) -> list[Boxes]:
    return [one for one in truths if isinstance(one, Boxes)]


def _known(metric: Metric, value: float) -> float:
    if math.isnan(value):
        raise MeasurementError(
            f"metric {metric.name}: there is nothing to divide by: no pixel that counts, or no word, in any label; "
            "check dataset.evaluation.labels"
        )
    return value
