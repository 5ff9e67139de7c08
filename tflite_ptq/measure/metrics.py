"""The built-in metrics: a value for each sample during the pass, one figure from all of them at the end. Pure.

Per-sample values are kept because two models can then be compared sample by sample (paired), not by two means.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Union

import numpy as np
from numpy.typing import NDArray

from tflite_ptq.errors import DataError, MeasurementError
from tflite_ptq.measure.ranking import roc_auc
from tflite_ptq.recipe.schema import UNLABELLED_METRICS, Metric

Array = NDArray[np.generic]
Label = Union[int, float, None]
Score = Union[float, NDArray[np.float64]]
TOP = {"top1": 1, "top5": 5}
"""How many classes a top-k metric lets the right one be among."""


def needs_labels(metric: Metric) -> bool:
    """Whether the metric compares with labels (a function of the user's decides for itself)."""
    return metric.name not in UNLABELLED_METRICS and not metric.custom


def sample_score(metric: Metric, output: Array, label: Label, sample_input: Array | None, sample: str) -> Score:
    """The value of a built-in ``metric`` for one sample.

    ``output``: real values of one output, batch 1. ``sample_input``: the real values fed, for reconstruction.
    top1/top5 give 1.0 for a hit and 0.0 for a miss; mae and mse the mean over the output's values; roc_auc the score
    or the vector of scores that it ranks by. ``sample`` names the sample in errors.
    Raises ``DataError`` for a label that is missing or out of range, ``MeasurementError`` for an output that the
    metric cannot score.
    """
    if metric.name in UNLABELLED_METRICS or metric.score != "output":
        error = _difference(metric, output, sample_input)
        return float(np.abs(error).mean()) if metric.name == "reconstruction_mae" else float((error * error).mean())
    if label is None:
        raise DataError(f"{sample}: has no label, and metric {metric.name} needs one; set dataset.evaluation.labels")
    if metric.name in TOP:
        return _hit(metric.name, output, label, sample)
    if metric.name == "roc_auc":
        return _ranked(output, label, sample)
    if output.size != 1:
        raise MeasurementError(
            f"metric {metric.name}: a label is one number, the output has shape {output.shape}; "
            "use reconstruction_mae or reconstruction_mse, or a module:function metric"
        )
    off = float(output.reshape(-1)[0]) - float(label)
    return abs(off) if metric.name == "mae" else off * off


def aggregate(metric: Metric, scores: Sequence[Score], labels: Sequence[Label]) -> float:
    """One figure from the values of ``sample_score`` and the labels, both in sample order.

    The mean, added exactly (``math.fsum``), except for roc_auc. Raises ``MeasurementError`` where there is none.
    """
    if not scores:
        raise MeasurementError(f"metric {metric.name}: there is no sample to measure")
    if metric.name == "roc_auc":
        classes = [_class_index(label, "dataset.evaluation") for label in labels]
        return roc_auc(np.asarray(scores, dtype=np.float64), np.asarray(classes, dtype=np.int64))
    return math.fsum(float(score) for score in scores) / len(scores)


def _difference(metric: Metric, output: Array, sample_input: Array | None) -> NDArray[np.float64]:
    if sample_input is None or sample_input.shape != output.shape:
        found = "no single input of that shape" if sample_input is None else f"the input has {sample_input.shape}"
        raise MeasurementError(
            f"metric {metric.name}: reconstruction compares the output with the input, but the output has shape "
            f"{output.shape} and {found}; choose another metric"
        )
    return np.asarray(output, np.float64) - np.asarray(sample_input, np.float64)


def _class_index(label: Label, sample: str) -> int:
    if label is None:
        raise DataError(f"{sample}: has no label; set dataset.evaluation.labels")
    if label != int(label):
        raise DataError(f"{sample}: label {label} is not a class index; use mae or mse for numeric targets")
    return int(label)


def _checked(label: Label, classes: int, sample: str) -> int:
    index = _class_index(label, sample)
    if not 0 <= index < classes:
        raise DataError(
            f"{sample}: label {index} is out of range: the output has {classes} classes (0 to {classes - 1}); "
            "correct the labels or dataset.classes"
        )
    return index


def _hit(name: str, output: Array, label: Label, sample: str) -> float:
    # (1, ..., K) -> (K,)
    scores: NDArray[np.float64] = output.reshape(-1).astype(np.float64)
    if output.ndim == 0 or scores.size != output.shape[-1]:
        raise MeasurementError(
            f"metric {name}: the output has shape {output.shape}, not one score a class (1, K); "
            "name another output or use a module:function metric"
        )
    if scores.size == 1 and name == "top1":
        return float(bool(scores[0] > 0.5) == bool(_checked(label, 2, sample)))
    best = TOP[name]
    if best > scores.size:
        raise MeasurementError(f"metric {name}: the output has only {scores.size} classes; use top1")
    index = _checked(label, scores.size, sample)
    if best == 1:
        return float(int(scores.argmax()) == index)
    # Ties go to the lower index, as arg max does; quantized scores tie often.
    ahead = int((scores > scores[index]).sum()) + int((scores[:index] == scores[index]).sum())
    return float(ahead < best)


def _ranked(output: Array, label: Label, sample: str) -> Score:
    scores: NDArray[np.float64] = output.reshape(-1).astype(np.float64)
    _checked(label, max(scores.size, 2), sample)
    return float(scores[0]) if scores.size == 1 else scores
