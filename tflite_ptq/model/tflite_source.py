"""A ``.tflite`` in the place of a source model: which may be, and with which inputs (pure)."""

from __future__ import annotations

from collections.abc import Sequence

from tflite_ptq.errors import ModelError
from tflite_ptq.model.input_shapes import fixed_inputs, shown
from tflite_ptq.recipe.dataset import Dataset
from tflite_ptq.recipe.schema import Model, Variant
from tflite_ptq.result import TensorInfo


def needs_source(variants: Sequence[str], path: str) -> str:
    """Why these variants cannot be made of the ``.tflite`` at ``path``."""
    return (
        f"{', '.join(variants)}: {'needs' if len(variants) == 1 else 'need'} the source model: TFLiteConverter cannot "
        f"read a .tflite; name the .keras, .h5 or SavedModel as model.path instead of {path}"
    )


def shares_calibration(variant: Variant, dataset: Dataset | None) -> bool:
    """Whether it is made of the float ``.tflite`` and the ranges of our own calibrator, without the source model."""
    calibration = dataset.calibration if dataset is not None else None
    return variant.needs_calibration and calibration is not None and calibration.engine == "litert"


def float_inputs(model: Model, inputs: Sequence[TensorInfo], quantized: str | None) -> tuple[TensorInfo, ...]:
    """The inputs with an open batch as 1; ``quantized`` names what was found quantized in the file.

    Raises ``ModelError`` where that is anything, where another dimension is open, since a ``.tflite`` is taken as it
    stands, and where the recipe's shapes are not the file's.
    """
    if quantized is not None:
        raise ModelError(
            f"{model.path}: the model is already quantized ({quantized}); name the float model it was made from"
        )
    for info in inputs:
        if -1 in info.shape[1:]:
            raise ModelError(
                f"{model.path}: input '{info.name}' has unknown dimensions: {shown(info.shape)}; a .tflite is taken as "
                "it stands: name the model that it was made from, or convert that again with fixed shapes"
            )
    return fixed_inputs(model, inputs)
