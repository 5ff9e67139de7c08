"""The samples that a dataset's settings choose, indexed once in the life of a child."""

from __future__ import annotations

import functools
from collections.abc import Sequence

from tflite_ptq.data.index import SampleRef
from tflite_ptq.data.split import Split, split
from tflite_ptq.recipe.dataset import Dataset
from tflite_ptq.worker.messages import Scanned


def chosen_samples(dataset: Dataset) -> Split:
    """``split(dataset)``; a child's later jobs on the same dataset see the same samples."""
    return _by_json(dataset.model_dump_json())


@functools.lru_cache(maxsize=1)
def _by_json(dataset_json: str) -> Split:
    return split(Dataset.model_validate_json(dataset_json))


def spread(refs: Sequence[SampleRef], most: int) -> Sequence[SampleRef]:
    """At most so many of them, evenly over all: neighbours tend to be of one class."""
    count = min(most, len(refs))
    return [refs[place * len(refs) // count] for place in range(count)]


def counted(chosen: Split) -> Scanned:
    """How many they are and what their labels say; their hashes are not taken."""
    return Scanned(
        calibration_samples=len(chosen.calibration),
        evaluation_samples=len(chosen.evaluation),
        calibration_left_out=chosen.left_out,
        labelled=bool(chosen.evaluation) and chosen.evaluation[0].label is not None,
        classes=chosen.classes,
    )
