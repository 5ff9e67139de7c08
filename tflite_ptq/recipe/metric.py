"""The metrics that a recipe may name, and their settings."""

from __future__ import annotations

import re
from typing import Literal

from pydantic import Field, NonNegativeInt, model_validator

from tflite_ptq.recipe.labels import CocoLabels, MaskLabels, TranscriptLabels
from tflite_ptq.recipe.strict import Strict

METRICS = (
    "top1",
    "top5",
    "f1",
    "balanced_accuracy",
    "roc_auc",
    "mae",
    "mse",
    "rmse",
    "reconstruction_mae",
    "reconstruction_mse",
    "mean_iou",
    "coco_map",
    "wer",
)
UNLABELLED_METRICS = frozenset({"reconstruction_mae", "reconstruction_mse"})
CLASS_METRICS = frozenset({"top1", "top5", "f1", "balanced_accuracy"})
"""Metrics of the class that a score vector chooses."""
TASK_METRICS: dict[str, tuple[type[Strict], str]] = {
    "mean_iou": (MaskLabels, "{masks: <folder>}"),
    "coco_map": (CocoLabels, "{coco: <annotations.json>}"),
    "wer": (TranscriptLabels, "{transcripts: <file.csv>}"),
}
"""Metrics with labels of their own kind, and how those are written."""
EXTRAS = {"coco_map": ("pycocotools", "detection"), "wer": ("jiwer", "speech")}
"""Metrics that need a package which is installed on request: the package, and the extra that brings it."""
_CUSTOM = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")
_ONLY_OF = {
    "score": "roc_auc",
    "outputs": "coco_map",
    "class_offset": "coco_map",
    "alphabet": "wer",
    "blank": "wer",
    "decode": "wer",
}
Role = Literal["boxes", "classes", "scores", "count"]


class Metric(Strict):
    """A built-in metric or ``module:function``. A plain string is short for ``{name: ...}``."""

    name: str
    output: str | None = Field(None, description="which output is scored; needed where the model has several")
    score: Literal["output", "reconstruction_mse"] = Field(
        "output", description="what roc_auc ranks by: the model's output, or how badly it reconstructs its input"
    )
    outputs: dict[Role, str] = Field(
        {},
        description="coco_map: the outputs that hold boxes, classes, scores and count; default: by their names, else "
        "in the order of TFLite_Detection_PostProcess",
    )
    class_offset: int | None = Field(
        None,
        description="coco_map: COCO category id minus the model's class; default: class i is the i-th category by id",
    )
    alphabet: str | None = Field(None, description="wer: the characters of the output's classes in order, no blank")
    blank: NonNegativeInt | None = Field(None, description="wer: the class that stands for nothing; default: the last")
    decode: Literal["ctc", "characters"] = Field(
        "ctc", description="wer: ctc joins repeats and drops blanks; characters reads each position as it is"
    )

    @model_validator(mode="before")
    @classmethod
    def _short(cls, data: object) -> object:
        return {"name": data} if isinstance(data, str) else data

    @model_validator(mode="after")
    def _known(self) -> Metric:
        if self.name not in METRICS and not _CUSTOM.fullmatch(self.name):
            raise ValueError(f"name: '{self.name}' is not a metric ({', '.join(METRICS)}, or module:function)")
        for setting, owner in _ONLY_OF.items():
            if self.name != owner and getattr(self, setting) != type(self).model_fields[setting].default:
                raise ValueError(f"{setting} is a setting of {owner}, not of {self.name}")
        if self.name == "wer" and not self.alphabet:
            raise ValueError("wer needs alphabet: the characters of the output's classes in order, without the blank")
        return self

    @property
    def custom(self) -> bool:
        """Whether this is a function of the user's."""
        return self.name not in METRICS
