"""The recipe's ``dataset``: where samples are, how they are stored, preprocessed, labelled and chosen.

Unions that YAML tells apart by form carry a ``<tag>``; the loader drops tags from the place it names in a fault.
"""

from __future__ import annotations

from typing import Annotated, Literal, Union

from pydantic import (
    BeforeValidator,
    Discriminator,
    Field,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    Tag,
    model_validator,
)

from tflite_ptq.recipe.labels import Labels
from tflite_ptq.recipe.strict import Strict

Dtype = Literal[
    "bool", "int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64", "float16", "float32", "float64"
]
Interpolation = Literal["nearest", "bilinear", "bicubic", "lanczos", "box", "hamming"]
NormalizePreset = Literal["raw", "0..1", "-1..1", "torch", "caffe"]
Shape = Annotated[tuple[PositiveInt, ...], Field(min_length=1)]


class ImageFormat(Strict):
    """JPEG, PNG, BMP or WebP files, flat or one folder a class. Decoded as RGB, EXIF orientation applied."""

    type: Literal["image"]


class NpyFormat(Strict):
    """``.npy``: a folder with a file a sample, or one file with the samples stacked along axis 0.

    With ``stride`` each file is one long recording of values: sample ``i`` is the ``shape`` values that start at
    ``i * stride``.
    """

    type: Literal["npy"]
    shape: Shape | None = Field(None, description="shape of one sample; only with stride")
    stride: PositiveInt | None = Field(None, description="values from the start of one window to the next")

    @model_validator(mode="after")
    def _window(self) -> NpyFormat:
        if (self.shape is None) != (self.stride is None):
            raise ValueError("shape and stride go together (sliding windows); give both or neither")
        return self


class NpzFormat(Strict):
    """``.npz``: a folder with a file a sample, or one file with the samples stacked along axis 0 of each array.

    Arrays are matched to the model's inputs by name; ``keys`` maps an input's name to an array's name where the two
    differ.
    """

    type: Literal["npz"]
    keys: dict[str, str] = Field({}, description="{model input: array in the file}")


class RawFormat(Strict):
    """Headerless binary files of one dtype. A file is one sample; with ``stride`` it is a long recording.

    Real value = scale * (stored - zero_point) where ``scale`` is given. With ``stride`` sample ``i`` of a file is
    the ``shape`` values that start at value ``i * stride`` (sliding windows over whole frames when ``stride`` is the
    length of a frame).
    """

    type: Literal["raw"]
    dtype: Dtype
    shape: Shape = Field(description="shape of one sample, without the batch dimension")
    byte_order: Literal["little", "big"] = "little"
    scale: PositiveFloat | None = None
    zero_point: int | None = None
    stride: PositiveInt | None = Field(None, description="values from the start of one window to the next")

    @model_validator(mode="after")
    def _affine(self) -> RawFormat:
        if self.zero_point is not None and self.scale is None:
            raise ValueError("zero_point without scale; give both: real = scale * (stored - zero_point)")
        return self


Format = Annotated[Union[ImageFormat, NpyFormat, NpzFormat, RawFormat], Field(discriminator="type")]


class Resize(Strict):
    """``stretch`` ignores the aspect ratio; ``shorter_side`` scales until the shorter side fits ``size`` (crop
    afterwards); ``fit`` keeps everything and pads to ``size``."""

    size: tuple[PositiveInt, PositiveInt] = Field(description="[height, width]")
    mode: Literal["stretch", "shorter_side", "fit"] = "stretch"
    interpolation: Interpolation = "bilinear"
    pad_value: Annotated[int, Field(ge=0, le=255)] = 0


def _listed(value: object) -> object:
    return [value] if isinstance(value, (int, float)) else value


class MeanStd(Strict):
    """(value - mean) / std, a number or one a channel, in the units of the values before this step."""

    mean: Annotated[tuple[float, ...], BeforeValidator(_listed), Field(min_length=1)]
    std: Annotated[tuple[PositiveFloat, ...], BeforeValidator(_listed), Field(min_length=1)]


Normalize = Annotated[
    Union[Annotated[NormalizePreset, Tag("<preset>")], Annotated[MeanStd, Tag("<mean/std>")]],
    Discriminator(lambda value: "<mean/std>" if isinstance(value, (dict, MeanStd)) else "<preset>"),
]


class Step(Strict):
    """One step of the preprocessing, in the order written; exactly one of its keys."""

    resize: Resize | None = Field(None, description="images only")
    center_crop: tuple[PositiveInt, PositiveInt] | None = Field(None, description="[height, width]; images only")
    color: Literal["rgb", "bgr", "gray"] | None = Field(
        None, description="channel order: rgb as decoded, bgr, or gray (one channel, ITU-R 601-2 luma); images only"
    )
    normalize: Normalize | None = Field(
        None,
        description="{mean, std}, or a preset for values 0..255: raw (unchanged), 0..1 (x / 255), "
        "-1..1 (x / 127.5 - 1), torch (x / 255, ImageNet mean and std, RGB), "
        "caffe (minus 103.939, 116.779, 123.68, BGR)",
    )

    @model_validator(mode="after")
    def _one(self) -> Step:
        if [self.resize, self.center_crop, self.color, self.normalize].count(None) != 3:
            raise ValueError("one key a step: resize, center_crop, color or normalize")
        return self


class Subset(Strict):
    """Where samples are and how they are labelled."""

    path: str = Field(description="folder, or one stacked .npy/.npz or one .bin recording; relative to the recipe")
    labels: Labels | None = Field(
        None,
        description="'folders' (class folders), 'none', a .csv or .npy path, {csv: ...} with its columns, {key: ...} "
        "of an .npz, {masks: ...}, {coco: ...} or {transcripts: ...}; default: class folders where an image folder "
        "has them, else none",
    )


class Percentile(Strict):
    """The range that keeps this share of an activation's values."""

    percentile: Annotated[float, Field(gt=50, le=100)]


_PercentileForm = Annotated[Percentile, Tag("<percentile>")]
_by_form = Discriminator(lambda value: "<percentile>" if isinstance(value, (dict, Percentile)) else "<method>")

RangeMethod = Annotated[
    Union[Annotated[Literal["minmax", "mse", "entropy"], Tag("<method>")], _PercentileForm], _by_form
]
_MethodOrAuto = Annotated[
    Union[Annotated[Literal["auto", "minmax", "mse", "entropy"], Tag("<method>")], _PercentileForm], _by_form
]


class Calibration(Subset):
    """The representative dataset, and how activation ranges are taken from it."""

    samples: PositiveInt = 100
    select: Literal["first", "random", "stratified"] = "random"
    seed: NonNegativeInt = 0
    engine: Literal["litert", "tflite"] = Field(
        "litert",
        description="litert: one fast calibration for all variants; tflite: TFLiteConverter's own, per variant",
    )
    method: _MethodOrAuto = Field(
        "auto",
        description="minmax (the converter's own), mse (least quantization error), entropy (Kullback-Leibler) or "
        "{percentile: 99.99}; auto: minmax, and for corrected int8 variants mse or {percentile: 99.99} where that is "
        "closer to float on samples held back; engine litert",
    )
    overrides: dict[str, RangeMethod] = Field(
        {}, description="{pattern of tensor names: method}; the first pattern that matches counts; engine litert"
    )

    @model_validator(mode="after")
    def _engine_can(self) -> Calibration:
        if self.engine == "tflite" and (self.method not in ("auto", "minmax") or self.overrides):
            raise ValueError("method and overrides need engine: litert; TFLiteConverter's own calibration is minmax")
        return self

    @property
    def as_converter(self) -> bool:
        """Whether the ranges are to be TFLiteConverter's own, to the last bit."""
        return self.method == "minmax" and not self.overrides

    @property
    def first_method(self) -> RangeMethod:
        """What ``auto`` starts from, and is held against: the converter's own."""
        return "minmax" if self.method == "auto" else self.method


class Evaluation(Subset):
    """The samples that accuracy and fidelity are measured on; those used for calibration are left out."""

    samples: PositiveInt | None = Field(None, description="at most so many; default: all")
    select: Literal["first", "random", "stratified"] = "first"
    seed: NonNegativeInt = 0
    include_calibration: bool = Field(False, description="also evaluate on samples that calibration used")


class Dataset(Strict):
    """Samples for calibration and evaluation: one format and one preprocessing for both."""

    format: Format
    preprocess: tuple[Step, ...] = ()
    classes: tuple[str, ...] | None = Field(
        None, description="class names in the order of the model's output; default: folder names, sorted"
    )
    calibration: Calibration | None = None
    evaluation: Evaluation | None = None
    on_bad_sample: Literal["stop", "skip"] = "stop"
