"""The built-in metrics: a value for each sample during the pass, one figure from all of them at the end. Pure.

Per-sample values are kept because two models can then be compared sample by sample (paired), not by two means.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Union

import numpy as np
from numpy.typing import NDArray

from tflite_ptq.errors import DataError, MeasurementError
from tflite_ptq.measure.top_k import TOP, Label, class_of, hits, predictions
from tflite_ptq.recipe.metric import CLASS_METRICS, TASK_METRICS, UNLABELLED_METRICS, Metric

Array = NDArray[np.generic]
Score = Union[float, NDArray[np.float64]]


def needs_labels(metric: Metric) -> bool:
    """Whether the metric compares with a class or number (a function of the user's decides for itself)."""
    return not metric.custom and metric.name not in UNLABELLED_METRICS and metric.name not in TASK_METRICS


def sample_score(metric: Metric, output: Array, label: Label, sample_input: Array | None, sample: str) -> Score:
    """The value of a built-in ``metric`` for one sample.

    ``output``: real values of one output, batch 1. ``sample_input``: the real values fed, for reconstruction.
    top1/top5 give 1.0 for a hit and 0.0 for a miss; f1 and balanced_accuracy the class chosen; mae the absolute and
    mse and rmse the squared error; roc_auc the score or the vector of scores that it ranks by. ``sample`` names the
    sample in errors.
    Raises ``DataError`` for a label that is missing or out of range, ``MeasurementError`` for an output that the
    metric cannot score.
    """
    if metric.name in UNLABELLED_METRICS or metric.score != "output":
        error = _difference(metric, output, sample_input)
        return float(np.abs(error).mean()) if metric.name == "reconstruction_mae" else float((error * error).mean())
    if label is None:
        raise DataError(f"{sample}: has no label, and metric {metric.name} needs one; set dataset.evaluation.labels")
    if metric.name in TOP:
        return float(hits(metric.name, output[np.newaxis], [label], [sample])[0])
    if metric.name in CLASS_METRICS:
        return float(predictions(metric.name, output[np.newaxis], [label], [sample])[0])
    if metric.name == "roc_auc":
        return _ranked(output, label, sample)
    if output.size != 1:
        raise MeasurementError(
            f"metric {metric.name}: a label is one number, the output has shape {output.shape}; "
            "use reconstruction_mae or reconstruction_mse, or a module:function metric"
        )
    off = float(output.reshape(-1)[0]) - float(label)
    return abs(off) if metric.name == "mae" else off * off


def sample_scores(
    metric: Metric, outputs: Array, labels: Sequence[Label], inputs: Array | None, samples: Sequence[str]
) -> NDArray[np.float64]:
    """``sample_score`` of n samples, (n,) or (n, K); ``outputs`` and ``inputs`` are (n, ...)."""
    if metric.name in TOP:
        return hits(metric.name, outputs, labels, samples)
    if metric.name in CLASS_METRICS:
        return predictions(metric.name, outputs, labels, samples)
    fed = [None] * len(outputs) if inputs is None else inputs
    every = zip(outputs, labels, fed, samples, strict=True)
    return np.array([sample_score(metric, output, label, one, sample) for output, label, one, sample in every])


def _difference(metric: Metric, output: Array, sample_input: Array | None) -> NDArray[np.float64]:
    if sample_input is None or sample_input.shape != output.shape:
        found = "no single input of that shape" if sample_input is None else f"the input has {sample_input.shape}"
        raise MeasurementError(
            f"metric {metric.name}: reconstruction compares the output with the input, but the output has shape "
            f"{output.shape} and {found}; choose another metric"
        )
    return np.asarray(output, np.float64) - np.asarray(sample_input, np.float64)


def _ranked(output: Array, label: Label, sample: str) -> Score:
    scores: NDArray[np.float64] = output.reshape(-1).astype(np.float64)
    class_of(label, max(scores.size, 2), sample)
    return float(scores[0]) if scores.size == 1 else scores
