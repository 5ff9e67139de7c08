"""What a sample of segmentation, detection or speech is held against."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias, Union

from tflite_ptq.recipe.dataset import Step


@dataclass(frozen=True, slots=True)
class Mask:
    """A file of class indices, one a pixel. ``ignore`` is the value that counts for nothing; ``steps`` is what the
    sample's image goes through, None where the sample is no image."""

    file: Path
    ignore: int | None
    steps: tuple[Step, ...] | None


@dataclass(frozen=True, slots=True)
class Boxes:
    """An image of a COCO annotation file, by its id there. ``steps`` is what the image goes through."""

    annotations: Path
    image_id: int
    height: int
    width: int
    steps: tuple[Step, ...]


@dataclass(frozen=True, slots=True)
class Transcript:
    """What is said in the sample."""

    text: str


Target: TypeAlias = Union[Mask, Boxes, Transcript, None]
