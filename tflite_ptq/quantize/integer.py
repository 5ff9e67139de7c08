"""TFLiteConverter's own quantizer, given a float flatbuffer whose activations carry their ranges.

The same code that ``TFLiteConverter.convert()`` runs after its calibration, so one more variant costs hundredths of a
second, and the integer model is the one that TensorFlow would have made of these ranges.
"""

from __future__ import annotations

from collections.abc import Collection

import tensorflow as tf
from tensorflow.lite.python.convert import mlir_quantize
from tensorflow.lite.python.optimize import calibrator

from tflite_ptq.errors import ConversionError
from tflite_ptq.model.editing import Editable
from tflite_ptq.quantize.audit import SELECTS
from tflite_ptq.quantize.convert import explain
from tflite_ptq.recipe.schema import Variant

_NEVER_INTEGER = frozenset({"NEG", "SQUARE", "ELU"})
_WITHOUT_KERNEL = {
    "int8": _NEVER_INTEGER,
    "int16x8": _NEVER_INTEGER | {"SQUARED_DIFFERENCE", "HARD_SWISH", "MINIMUM", "SUM"},
}
"""By scheme, what TensorFlow 2.21 leaves in float or LiteRT 2.3 cannot run, and other operators can compute. TensorFlow
quantizes an int16 SUM's output by its input's scale, and one side of a MINIMUM by the other's."""


def with_integer_kernels(calibrated: Editable, variant: Variant) -> tuple[bytes, tuple[str, ...]]:
    """The file with operators that have no integer kernel written with others, and their names, one for each."""
    return calibrated.substituting(_WITHOUT_KERNEL[variant.scheme])


def quantize(calibrated: bytes, variant: Variant, excluded: Collection[str] = ()) -> bytes:
    """The integer ``.tflite`` of ``calibrated``, a float flatbuffer with ``quantization.min/max`` on its activations.

    ``excluded``: names of output tensors whose operators stay float (int8 only). What has no integer kernel may stay
    float, whatever the variant says: that is for the caller to judge. Raises ``ConversionError``.
    """
    io = tf.dtypes.as_dtype(variant.io)
    try:
        made: bytes
        if variant.scheme == "int8":
            made = mlir_quantize(
                calibrated,
                disable_per_channel=not variant.per_channel,
                input_data_type=io,
                output_data_type=io,
                denylisted_nodes=sorted(excluded) or None,
                disable_per_channel_for_dense_layers=not variant.per_channel_dense,
            )
        else:
            # Without samples the calibrator measures nothing and the ranges in the file stand. Told to leave in float
            # what it cannot quantize, it makes the same of all else, takes operators on integers as they are, and
            # does not stop at the first: the caller sees them all.
            # It changes constants in place: those that layers share must be separated.
            separated = Editable(calibrated).separating()
            ranged = calibrator.add_intermediate_tensors(_with_ranges_for_16_bits(separated))
            made = calibrator.Calibrator(ranged).calibrate_and_quantize(
                lambda: iter(()), io, io, True, tf.int16, tf.int64
            )
    except Exception as error:  # ConverterError, RuntimeError, ValueError: the quantizer has no common base
        raise ConversionError(f"{variant.name}: {explain(str(error), variant)}") from error
    return bytes(made)


def _with_ranges_for_16_bits(calibrated: bytes) -> bytes:
    """The quantizer for int16 activations asks a range of every input, and has no use for that of an integer. To what
    is always zero, such as a recurrent layer's first state, it gives the scale 0, on which LiteRT's kernels abort; any
    range holds a zero exactly. What a SELECT copies it does not rescale: one range has to hold all that it joins."""
    model = Editable(calibrated)
    asked = [i for i in model.inputs if model.dtype(i) != "float32"]
    asked += [i for i in model.activations() if model.limits(i) == (0.0, 0.0)]
    ranges = {**_joined_by_select(model), **dict.fromkeys(asked, (0.0, 1.0))}
    return model.with_ranges(ranges) if ranges else calibrated


def _joined_by_select(model: Editable) -> dict[int, tuple[float, float]]:
    """The ranges of what SELECT operators read and write, widened to be the same for all of one operator."""
    joins = [(*node.inputs[1:], *node.outputs) for node in model.nodes() if node.name in SELECTS]
    found: dict[int, tuple[float, float]] = {}
    for tensor in {tensor for join in joins for tensor in join}:
        limits = model.limits(tensor)
        if limits is not None:
            found[tensor] = limits
    for _ in joins:  # what one joins another may read
        for join in joins:
            spans = [found[tensor] for tensor in join if tensor in found]
            if spans:
                whole = min(span[0] for span in spans), max(span[1] for span in spans)
                found.update({tensor: whole for tensor in join if tensor in found})
    return found
