"""What a detector put out for one image, as boxes of the original image. Pure.

The standard TFLite outputs (of the operator ``TFLite_Detection_PostProcess``): boxes (1, D, 4) as ymin, xmin, ymax,
xmax in 0..1 of the model's input, classes (1, D), scores (1, D), and how many of the D count (1,).
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from tflite_ptq.data.placement import placement
from tflite_ptq.data.targets import Boxes
from tflite_ptq.errors import MeasurementError
from tflite_ptq.recipe.metric import Metric, Role

Array = NDArray[np.generic]
Reals = NDArray[np.float64]

_WORDS: dict[Role, tuple[str, ...]] = {
    "boxes": ("box", "location"),
    "classes": ("class", "categor"),
    "scores": ("score", "confidence"),
    "count": ("num", "count"),
}
COLUMNS = 6
"""x, y, width, height in pixels, score, class: a row of ``detections``."""


def detections(outputs: Mapping[str, Array], metric: Metric, boxes: Boxes) -> Reals:
    """The boxes (D, 6) of one image: x, y, width and height in its own pixels, score, the model's class. Rows beyond
    the count are NaN. ``outputs`` are by name, in the model's order. Raises ``MeasurementError`` for other outputs."""
    roles = _roles(outputs, metric)
    corners = outputs[roles["boxes"]].reshape(-1, 4).astype(np.float64)
    classes, scores = (outputs[roles[role]].reshape(-1).astype(np.float64) for role in ("classes", "scores"))
    if not len(corners) == len(classes) == len(scores):
        shapes = ", ".join(f"{role} '{roles[role]}' {outputs[roles[role]].shape}" for role in roles)
        raise MeasurementError(
            f"metric coco_map: boxes, classes and scores of one image must be equally many, got {shapes}; name them "
            "under outputs: {boxes: ..., classes: ..., scores: ..., count: ...}"
        )
    count = len(scores) if "count" not in roles else int(outputs[roles["count"]].reshape(-1)[0])
    placed = placement((boxes.height, boxes.width), boxes.steps)
    height, width = placed.size
    pixels = corners * (height, width, height, width)
    original = (pixels - (*placed.offset, *placed.offset)) / (*placed.scale, *placed.scale)
    ymin, xmin, ymax, xmax = original.T
    rows = np.stack([xmin, ymin, xmax - xmin, ymax - ymin, scores, np.rint(classes)], axis=1)
    rows[count:] = np.nan
    return rows


def _roles(outputs: Mapping[str, Array], metric: Metric) -> dict[Role, str]:
    """Which output is what: as the recipe says, else by names, else in the operator's order."""
    for role, name in metric.outputs.items():
        if name not in outputs:
            raise MeasurementError(
                f"metric coco_map: outputs.{role}: the model has no output '{name}'; its outputs are "
                f"{', '.join(outputs)}"
            )
    if metric.outputs:
        missing = [role for role in ("boxes", "classes", "scores") if role not in metric.outputs]
        if missing:
            raise MeasurementError(f"metric coco_map: outputs names no {missing[0]}; add it")
        return dict(metric.outputs)
    named = {role: [name for name in outputs if _says(name, words)] for role, words in _WORDS.items()}
    if all(len(names) == 1 for names in named.values()):
        return {role: names[0] for role, names in named.items()}
    names = list(outputs)
    if len(names) == 4 and outputs[names[0]].shape[-1:] == (4,) and outputs[names[3]].size == 1:
        return {"boxes": names[0], "classes": names[1], "scores": names[2], "count": names[3]}
    shapes = ", ".join(f"{name} {values.shape}" for name, values in outputs.items())
    raise MeasurementError(
        f"metric coco_map: the outputs ({shapes}) are not boxes, classes, scores and count; name them under outputs: "
        "{boxes: ..., classes: ..., scores: ..., count: ...}"
    )


def _says(name: str, words: tuple[str, ...]) -> bool:
    return any(word in name.lower() for word in words)
