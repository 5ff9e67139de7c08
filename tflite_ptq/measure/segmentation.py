"""Intersection and union of classes, pixel by pixel. Pure.

IoU of a class = pixels that are of it and taken for it / pixels that are either, over all samples; mean IoU is the mean
over the classes that occur in labels or predictions (PASCAL VOC's measure).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tflite_ptq.errors import DataError, MeasurementError

Array = NDArray[np.generic]
Pixels = NDArray[np.int64]
Reals = NDArray[np.float64]

_MOST_CLASSES = 256
"""Of a model that puts out class indices: as many as fit a mask's usual 8 bits."""


def overlaps(output: Array, labels: Pixels, name: str, place: str) -> Reals:
    """Intersections, then unions, of K classes in one sample: (2K,).

    ``output``: scores (1, H, W, K), class indices (1, H, W) or (1, H, W, 1) of an integer dtype, or the probability of
    class 1 (1, H, W, 1). ``labels`` (H, W), negative where a pixel does not count; ``name`` is the mask's and ``place``
    the sample's for errors. Raises ``MeasurementError`` for another output, ``DataError`` for labels of another size or
    class.
    """
    predicted, classes = _predicted(output)
    if predicted.shape != labels.shape:
        raise DataError(
            f"{name}: the mask of {place} has {labels.shape[0]}x{labels.shape[1]} pixels (height x width) after the "
            f"preprocessing, the model's output {predicted.shape[0]}x{predicted.shape[1]}; they must be the same"
        )
    counted = labels >= 0
    wanted, got = labels[counted], predicted[counted]
    for values, whose in ((wanted, name), (got, f"the output on {place}")):
        if values.size and int(values.max()) >= classes:
            raise DataError(
                f"{whose}: holds class {int(values.max())}, the model has {classes} classes (0 to {classes - 1}); "
                "correct the mask, or name the value under dataset.evaluation.labels.ignore"
            )
    both = np.bincount(wanted[wanted == got], minlength=classes)
    either = np.bincount(wanted, minlength=classes) + np.bincount(got, minlength=classes) - both
    return np.concatenate([both, either]).astype(np.float64)


def _predicted(output: Array) -> tuple[Pixels, int]:
    """Classes (H, W), and how many there are."""
    single = output.ndim == 4 and output.shape[3] == 1
    if output.ndim not in (3, 4) or output.shape[0] != 1:
        raise MeasurementError(
            f"metric mean_iou: the output has shape {output.shape}, not (1, H, W, classes) or (1, H, W); name another "
            "output"
        )
    if output.dtype.kind in "iu" and (output.ndim == 3 or single):
        return output.reshape(output.shape[1:3]).astype(np.int64), _MOST_CLASSES
    if single:
        return (output[0, :, :, 0].astype(np.float64) > 0.5).astype(np.int64), 2
    if output.ndim == 3:
        raise MeasurementError(
            f"metric mean_iou: the output of shape {output.shape} holds {output.dtype.name} values, which are no "
            "classes; name an output of class indices or of scores (1, H, W, classes)"
        )
    return np.asarray(output[0].argmax(axis=-1), np.int64), output.shape[3]
