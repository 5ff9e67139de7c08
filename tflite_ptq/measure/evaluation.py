"""What one pass over the samples gave, model by model. Everything kept by sample is in sample order, so that two models
can be compared sample by sample (paired)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from tflite_ptq.data.index import SampleRef
from tflite_ptq.errors import MeasurementError, UserError
from tflite_ptq.result import Fidelity, SkippedSample


@dataclass(frozen=True)
class Evaluation:
    """One model's figures over N measured samples.

    ``metrics`` holds the figures by key, ``failed`` why a metric has none. ``scores`` holds each built-in metric's
    value a sample, (N,) or, where roc_auc ranks K classes, (N, K). ``predicted`` is the class of each sample (N,),
    the lowest of equals; ``margins`` its score minus that of the labelled class (N,), 0 where they are the same. Both
    are of the output that the first top-k metric scores, else of the model's only output; ``predicted`` is None where
    that holds no class scores, ``margins`` also where a sample has no class as its label. One score p a sample
    (top1 of a (1, 1) output) stands for the classes 0 and 1 with scores 1 - p and p. ``notes`` say why fidelity is
    missing. ``redrawn`` holds, of a metric of the user's that gives one number, the number over resamples (R,).
    """

    metrics: Mapping[str, float]
    failed: Mapping[str, MeasurementError]
    scores: Mapping[str, NDArray[np.float64]]
    predicted: NDArray[np.int64] | None
    margins: NDArray[np.float64] | None
    fidelity: Fidelity | None
    samples: int
    notes: tuple[str, ...] = ()
    redrawn: Mapping[str, NDArray[np.float64]] = field(default_factory=dict)


@dataclass(frozen=True)
class EvaluationRun:
    """What one pass gave: for each model its evaluation, or why there is none."""

    results: Mapping[str, Evaluation | UserError]
    skipped: tuple[SkippedSample, ...]
    measured: Sequence[SampleRef]
    """The samples that were measured, in order: entry i of every array of an ``Evaluation`` is of ``measured[i]``."""

    @property
    def samples(self) -> int:
        """How many samples were measured."""
        return len(self.measured)
