"""What ``debug`` asks of the children beside the jobs of every run."""

from __future__ import annotations

from typing import Literal

from tflite_ptq.debug_result import Closeness, LayerDebug, TensorError
from tflite_ptq.recipe.dataset import Dataset
from tflite_ptq.recipe.schema import Variant
from tflite_ptq.result import Frozen, TensorInfo


class QuantizeParts(Frozen):
    """Quantize ``calibrated`` to ``target`` but for the operators with these output tensors; float ones are welcome."""

    job: Literal["quantize-parts"] = "quantize-parts"
    calibrated: str
    variant: Variant
    excluded: tuple[str, ...]
    target: str


class Yardstick(Frozen):
    """The float file and at most ``samples`` of the evaluation samples (calibration's where there are none)."""

    reference: str
    inputs: tuple[TensorInfo, ...]
    dataset: Dataset
    samples: int


class CompareLayers(Frozen):
    """Compare the quantized file ``model`` with the yardstick; every activation in ``followed``, which is the same
    model with integer outputs: there the last layer keeps its name."""

    job: Literal["compare-layers"] = "compare-layers"
    yardstick: Yardstick
    model: str
    followed: str


class ComparedLayer(Frozen):
    """A layer with all the names of its outputs; ``suspicion`` orders layers by the error that seems to arise in
    them; ``in_float``: the quantized model computes it in float."""

    layer: LayerDebug
    outputs: tuple[str, ...]
    suspicion: float
    in_float: bool


class LayersCompared(Frozen):
    """Layers in execution order; ``whole`` is the model's outputs, ``computed`` the output tensors of all operators."""

    whole: Closeness
    inputs: tuple[TensorError, ...]
    layers: tuple[ComparedLayer, ...]
    computed: tuple[str, ...]
    samples: int
    subset: Literal["evaluation", "calibration"]


class CompareOutputs(Frozen):
    """Compare the outputs of several files with the yardstick's. ``models`` maps a name to a file."""

    job: Literal["compare-outputs"] = "compare-outputs"
    yardstick: Yardstick
    models: dict[str, str]


class OutputsCompared(Frozen):
    """By name; a file that cannot run carries its error."""

    models: dict[str, Closeness]
