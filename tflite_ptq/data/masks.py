"""Segmentation masks: found beside the samples, read, and put through the geometry of the samples' images."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tflite_ptq.data.decode import image_size
from tflite_ptq.data.index import SampleRef
from tflite_ptq.data.preprocess import preprocess
from tflite_ptq.data.targets import Mask
from tflite_ptq.errors import DataError
from tflite_ptq.recipe.dataset import Step
from tflite_ptq.recipe.labels import MaskLabels

Pixels = NDArray[np.int64]
IGNORED = -1
_SUFFIXES = (".png", ".npy")


def attach_masks(
    refs: Sequence[SampleRef], labels: MaskLabels, steps: tuple[Step, ...] | None, where: str
) -> tuple[SampleRef, ...]:
    """Give every sample its mask: ``masks/a/7.png`` or ``masks/7.png`` (or ``.npy``) to the sample ``a/7.jpg``.

    Raises ``DataError`` for samples without one, or with two. ``steps``: see ``Mask``.
    """
    folder = Path(labels.masks)
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder; correct {where}.labels.masks")
    made: list[SampleRef] = []
    bare: list[str] = []
    for ref in refs:
        if ref.index is not None:
            raise DataError(f"{ref.place}: a mask belongs to a file, but this file holds several samples; split it up")
        stem = Path(ref.file_name).with_suffix("")
        places = dict.fromkeys((folder / stem, folder / stem.name))
        # Not with_suffix: the stem of 'a.b.jpg' is 'a.b'.
        files = [file for place in places for s in _SUFFIXES if (file := place.parent / (place.name + s)).is_file()]
        if len(files) > 1:
            raise DataError(f"{files[0]}: {ref.name} has another mask, {files[1]}; keep one of them")
        if files:
            made.append(replace(ref, target=Mask(files[0], labels.ignore, steps)))
        else:
            bare.append(ref.name)
    if bare:
        raise DataError(
            f"{folder}: {len(bare)} of {len(refs)} samples have no mask, the first '{bare[0]}' (looked for "
            f"{Path(bare[0]).with_suffix('.png')} and .npy); add it, or move the sample away"
        )
    return tuple(made)


@functools.lru_cache(maxsize=64)  # as many as are evaluated at once: all models are held against the same masks
def pixels_of(mask: Mask, sample: Path) -> Pixels:
    """The class of each pixel (H, W) as the model sees the sample, ``IGNORED`` where it does not count.

    ``sample`` is the sample's own file. Raises ``DataError`` for a mask that is no map of classes, or of another size
    than its image.
    """
    values = _npy(mask.file) if mask.file.suffix.lower() == ".npy" else _png(mask.file)
    classes: Pixels = values if mask.ignore is None else np.where(values == mask.ignore, IGNORED, values)
    if mask.steps is None:
        return classes
    size = image_size(sample)
    if classes.shape != size:
        raise DataError(
            f"{mask.file}: expected a mask of {size[0]}x{size[1]} (height x width), the size of {sample.name}, got "
            f"{classes.shape[0]}x{classes.shape[1]}; write the mask in the image's size, before any preprocessing"
        )
    # Padding belongs to no class. float32 holds every class exactly, and is what preprocess scales plane by plane.
    plane = preprocess(classes[:, :, np.newaxis].astype(np.float32), _geometry(mask.steps))
    return np.asarray(plane[:, :, 0], np.int64)


def _geometry(steps: Sequence[Step]) -> list[Step]:
    """The steps that move pixels, as they are done to classes: no value between two classes is made."""
    nearest = {"interpolation": "nearest", "pad_value": IGNORED}
    moved = [
        step.model_copy(update={"resize": step.resize.model_copy(update=nearest)}) if step.resize else step
        for step in steps
    ]
    return [step for step in moved if step.resize or step.center_crop]


def _png(file: Path) -> Pixels:
    try:
        with Image.open(file, formats=("PNG",)) as image:
            image.load()
            if image.mode not in ("P", "L", "1") and not image.mode.startswith("I"):
                raise DataError(
                    f"{file}: expected class indices (a grey or palette PNG), got mode {image.mode}; convert colours "
                    "to indices"
                )
            indices: Pixels = np.asarray(image).astype(np.int64)
            return indices
    except (OSError, SyntaxError, ValueError) as error:
        raise DataError(f"{file}: cannot be read as a PNG: {error}; write the mask again") from error


def _npy(file: Path) -> Pixels:
    try:
        values = np.load(file, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise DataError(f"{file}: cannot be read as .npy: {error}; write the mask again") from error
    if not isinstance(values, np.ndarray) or values.dtype.kind not in "biu":
        raise DataError(f"{file}: expected whole numbers, class indices; write the mask again with an integer dtype")
    if values.ndim == 3 and 1 in (values.shape[0], values.shape[2]):
        values = values[0] if values.shape[0] == 1 else values[:, :, 0]
    if values.ndim != 2:
        raise DataError(f"{file}: expected a mask of shape (H, W), got {values.shape}; write the mask again")
    classes: Pixels = values.astype(np.int64)
    return classes
