"""How samples are labelled: a class or number each, or what segmentation, detection and speech are held against."""

from __future__ import annotations

from typing import Annotated, Union

from pydantic import Discriminator, Field, NonNegativeInt, Tag

from tflite_ptq.recipe.strict import Strict


class CsvLabels(Strict):
    """A CSV that gives each file's class. Columns are counted from 0 (-1 is the last) or named (then a header row
    is expected)."""

    csv: str = Field(description="path of the CSV")
    file_column: int | str = 0
    class_column: int | str = -1
    header: bool | None = Field(None, description="has a header row; default: yes when a column is named")
    delimiter: str = Field(",", min_length=1, max_length=1)


class KeyLabels(Strict):
    """The array of an ``.npz`` that holds the labels."""

    key: str


class MaskLabels(Strict):
    """Segmentation: a mask a sample, of the sample's own size, whose values are class indices."""

    masks: str = Field(description="folder of .png (grey or palette) or .npy files named as the samples are")
    ignore: NonNegativeInt | None = Field(None, description="value of pixels that count for nothing, often 255")


class CocoLabels(Strict):
    """Detection: an annotation file in COCO's format, whose ``file_name`` are the samples."""

    coco: str = Field(description="path of the JSON file")


class TranscriptLabels(Strict):
    """Speech: a CSV that gives each file's text. Columns as in ``CsvLabels``."""

    transcripts: str = Field(description="path of the CSV")
    file_column: int | str = 0
    text_column: int | str = -1
    header: bool | None = Field(None, description="has a header row; default: yes when a column is named")
    delimiter: str = Field(",", min_length=1, max_length=1)


TASK_LABELS = (MaskLabels, CocoLabels, TranscriptLabels)
"""Labels that are no class or number: only the metric of their task can use them."""

_KEYS = {"key": "<key>", "masks": "<masks>", "coco": "<coco>", "transcripts": "<transcripts>"}
_TAGS: dict[type, str] = {
    KeyLabels: "<key>",
    MaskLabels: "<masks>",
    CocoLabels: "<coco>",
    TranscriptLabels: "<transcripts>",
    CsvLabels: "<csv>",
}


def _labels_tag(value: object) -> str:
    if isinstance(value, dict):
        return next((tag for key, tag in _KEYS.items() if key in value), "<csv>")
    return _TAGS.get(type(value), "<path>")


Labels = Annotated[
    Union[
        Annotated[str, Tag("<path>")],
        Annotated[CsvLabels, Tag("<csv>")],
        Annotated[KeyLabels, Tag("<key>")],
        Annotated[MaskLabels, Tag("<masks>")],
        Annotated[CocoLabels, Tag("<coco>")],
        Annotated[TranscriptLabels, Tag("<transcripts>")],
    ],
    Discriminator(_labels_tag),
]
