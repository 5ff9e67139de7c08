"""What segmentation, detection and speech keep of one sample."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from tflite_ptq.data.index import SampleRef
from tflite_ptq.data.masks import pixels_of
from tflite_ptq.data.targets import Boxes, Mask, Transcript
from tflite_ptq.errors import DataError
from tflite_ptq.measure.detections import detections
from tflite_ptq.measure.segmentation import overlaps
from tflite_ptq.measure.words import said, word_errors
from tflite_ptq.recipe.metric import TASK_METRICS, Metric

Array = NDArray[np.generic]
Reals = NDArray[np.float64]


def task_scores(metric: Metric, outputs: Mapping[str, Array], scored: str, refs: Sequence[SampleRef]) -> Reals:
    """``task_score`` of n samples, (n, ...); ``outputs`` by name, (n, 1, ...)."""
    every = ({name: values[place] for name, values in outputs.items()} for place in range(len(refs)))
    return np.stack([task_score(metric, one, scored, ref) for one, ref in zip(every, refs, strict=True)])


def task_score(metric: Metric, outputs: Mapping[str, Array], scored: str, ref: SampleRef) -> Reals:
    """mean_iou: intersections and unions (2K,); coco_map: detections (D, 6); wer: errors and words (2,).

    ``outputs`` are real values of one sample by name, batch 1; ``scored`` names the one that counts (for coco_map all
    do). Raises ``DataError`` where the sample has no such target, ``MeasurementError`` for outputs of another kind.
    """
    match metric.name, ref.target:
        case "mean_iou", Mask() as mask:
            return overlaps(outputs[scored], pixels_of(mask, ref.file), str(mask.file), ref.name)
        case "coco_map", Boxes() as boxes:
            return detections(outputs, metric, boxes)
        case "wer", Transcript() as transcript:
            return word_errors(transcript.text, said(outputs[scored], metric))
    raise DataError(
        f"{ref.place}: has nothing that metric {metric.name} can be held against; set dataset.evaluation.labels to "
        f"{TASK_METRICS[metric.name][1]}"
    )
