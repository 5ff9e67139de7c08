"""Area under the ROC curve of scores against classes. Pure; scikit-learn does the work."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tflite_ptq.errors import MeasurementError


def roc_auc(scores: NDArray[np.float64], classes: NDArray[np.int64]) -> float:
    """The area for ``scores`` (N,) or (N, K) and ``classes`` (N,).

    One score a sample, or K = 2 (class 1 is the positive one): binary, with classes 0 and 1. K > 2: one class against
    the rest, averaged over the classes that occur. Raises ``MeasurementError`` where fewer than two classes occur.
    """
    # Takes most of a second, and only this metric needs it.
    from sklearn.metrics import roc_auc_score

    present = [int(value) for value in np.unique(classes)]
    if len(present) < 2:
        raise MeasurementError(
            f"metric roc_auc: all {len(classes)} samples have the same class ({present[0] if present else 'none'}); "
            "a ROC curve needs samples of two classes at least"
        )
    if scores.ndim == 2 and scores.shape[1] == 2:
        scores = scores[:, 1]
    if scores.ndim == 1:
        if present != [0, 1]:
            raise MeasurementError(
                f"metric roc_auc: one score a sample needs the classes 0 and 1, found {present[:10]}; "
                "correct the labels"
            )
        return float(roc_auc_score(classes, scores))
    # Class by class: scikit-learn's own multi-class form demands rows that sum to 1, which dequantized ones do not.
    areas = [float(roc_auc_score(classes == value, scores[:, value])) for value in present]
    return sum(areas) / len(areas)
