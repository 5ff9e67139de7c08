"""The samples that a recipe chooses, as arrays: what the bare scripts are fed, so that all sides see the same."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tflite_ptq.data.index import SampleRef
from tflite_ptq.data.reader import Reader
from tflite_ptq.data.split import Split, split
from tflite_ptq.recipe.dataset import Dataset
from tflite_ptq.result import TensorInfo

Array = NDArray[np.float32]


def chosen(dataset: Dataset) -> Split:
    """The samples that calibrate and those that evaluate."""
    return split(dataset)


def arrays(dataset: Dataset, inputs: tuple[TensorInfo, ...], refs: Sequence[SampleRef]) -> Array:
    """(samples, 1, ...) float32 of a model with one input, preprocessed."""
    (info,) = inputs
    read = Reader(dataset, inputs).read
    return np.stack([np.asarray(read(ref)[info.name], np.float32) for ref in refs])


def write(path: Path, samples: Array) -> str:
    """Stores samples as ``.npy`` for another process; the path as text."""
    np.save(path, samples)
    return str(path)
