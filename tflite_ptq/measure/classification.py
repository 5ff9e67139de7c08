"""Classification in detail: class by class, the confusion matrix, and what float32 had right that a variant has not."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from tflite_ptq.data.index import SampleRef
from tflite_ptq.measure.evaluation import Evaluation
from tflite_ptq.result import Classes, ClassResult, Regression

MOST_REGRESSIONS = 24
MOST_CONFUSED = 100
"""Beyond so many classes the confusion matrix is left out: it grows with their square."""

Indices = NDArray[np.int64]


def classify(
    found: Evaluation, before: Evaluation | None, refs: Sequence[SampleRef], names: Sequence[str] | None
) -> Classes | None:
    """The details of one model's answers on ``refs``; ``before`` is the yardstick's evaluation of the same samples.

    ``names`` are the class names by index, where they are known. None where there is no class to each sample.
    """
    if found.predicted is None or found.margins is None:
        return None
    labels = np.array([ref.label for ref in refs], np.int64)
    predicted = found.predicted
    was = None if before is None else before.predicted
    count = max(len(names or ()), *(int(column.max()) + 1 for column in (labels, predicted, was) if column is not None))
    named = [names[i] if names is not None and i < len(names) else str(i) for i in range(count)]
    details = Classes(classes=_by_class(labels, predicted, was, named), confusion=_confusion(labels, predicted, count))
    if was is None:
        return details
    lost = np.flatnonzero((was == labels) & (predicted != labels))
    worst = lost[np.argsort(-found.margins[lost], kind="stable")][:MOST_REGRESSIONS]
    return details.model_copy(
        update={
            "regressed": lost.size,
            "mended": int(((was != labels) & (predicted == labels)).sum()),
            "regressions": tuple(
                Regression(
                    sample=refs[i].name,
                    expected=named[labels[i]],
                    predicted=named[predicted[i]],
                    margin=float(found.margins[i]),
                )
                for i in worst
            ),
        }
    )


def _by_class(
    labels: Indices, predicted: Indices, was: Indices | None, named: Sequence[str]
) -> tuple[ClassResult, ...]:
    # Takes most of a second, and only labelled samples need it.
    from sklearn.metrics import precision_recall_fscore_support

    everyone = np.arange(len(named))
    precision, recall, f1, samples = precision_recall_fscore_support(
        labels, predicted, labels=everyone, zero_division=np.nan
    )
    changes = np.full(len(named), np.nan)
    if was is not None:
        changes = recall - precision_recall_fscore_support(labels, was, labels=everyone, zero_division=np.nan)[1]
    return tuple(
        ClassResult(
            name=name,
            samples=int(samples[i]),
            recall=_known(recall[i]),
            precision=_known(precision[i]),
            f1=_known(f1[i]),
            change=_known(changes[i]),
        )
        for i, name in enumerate(named)
    )


def _confusion(labels: Indices, predicted: Indices, count: int) -> tuple[tuple[int, ...], ...]:
    from sklearn.metrics import confusion_matrix

    if count > MOST_CONFUSED:
        return ()
    matrix = confusion_matrix(labels, predicted, labels=np.arange(count))
    return tuple(tuple(int(cell) for cell in row) for row in matrix)


def _known(value: float) -> float | None:
    """None where there was nothing to divide by: a class without samples, or one that was never chosen."""
    return None if np.isnan(value) else float(value)
