"""COCO annotation files: which of their images the samples are."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from pydantic import BaseModel, ValidationError

from tflite_ptq.data.index import SampleRef
from tflite_ptq.data.targets import Boxes
from tflite_ptq.errors import DataError
from tflite_ptq.recipe.dataset import Step
from tflite_ptq.recipe.labels import CocoLabels


class _Image(BaseModel):
    id: int
    file_name: str
    height: int
    width: int


class _Category(BaseModel):
    id: int


class _Annotation(BaseModel):
    image_id: int
    category_id: int
    bbox: tuple[float, float, float, float]


class _Annotations(BaseModel):
    """The parts that detection needs; a file may hold more."""

    images: list[_Image]
    categories: list[_Category]
    annotations: list[_Annotation]


def attach_boxes(
    refs: Sequence[SampleRef], labels: CocoLabels, steps: tuple[Step, ...], where: str
) -> tuple[SampleRef, ...]:
    """Give every sample its image in the annotation file: the one whose ``file_name`` is the sample's path below its
    folder, or its bare name. Raises ``DataError`` for another file and for samples that are not in it."""
    file = Path(labels.coco)
    images = _images(file, where)
    made: list[SampleRef] = []
    bare: list[str] = []
    for ref in refs:
        image = images.get(ref.file_name) or images.get(ref.file.name)
        if image is None:
            bare.append(ref.name)
            continue
        made.append(replace(ref, target=Boxes(file, image.id, image.height, image.width, steps)))
    if bare:
        raise DataError(
            f"{file}: {len(bare)} of {len(refs)} samples are not among its images, the first '{bare[0]}'; correct "
            f"{where}.labels.coco, or move the samples away"
        )
    return tuple(made)


def _images(file: Path, where: str) -> Mapping[str, _Image]:
    try:
        data: object = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise DataError(f"{file}: no such annotation file; correct {where}.labels.coco") from error
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise DataError(f"{file}: cannot be read as JSON: {error}; write the file again") from error
    try:
        found = _Annotations.model_validate(data)
    except ValidationError as error:
        first = error.errors()[0]
        raise DataError(
            f"{file}: is no COCO annotation file: {'.'.join(map(str, first['loc']))}: {first['msg']}; it needs images, "
            "categories and annotations"
        ) from error
    return {image.file_name: image for image in found.images}
