"""Conversion of an exported SavedModel: the only caller of TFLiteConverter."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TypeAlias

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from tflite_ptq.errors import ConversionError, UserError
from tflite_ptq.model.source import SIGNATURE
from tflite_ptq.recipe.schema import FLOAT32, Variant

Sample: TypeAlias = Mapping[str, NDArray[np.generic]]
Representative: TypeAlias = Callable[[], Iterator[Sample]]

_INTEGER_OPS = {
    "int8": tf.lite.OpsSet.TFLITE_BUILTINS_INT8,
    "int16x8": tf.lite.OpsSet.EXPERIMENTAL_TFLITE_BUILTINS_ACTIVATIONS_INT16_WEIGHTS_INT8,
}


def convert(saved_model: Path, variant: Variant | None, representative: Representative | None) -> bytes:
    """The ``.tflite`` of one variant; ``None`` is the float32 yardstick.

    ``representative`` yields samples keyed by input name, each of the input's whole shape (batch 1); integer schemes
    need it. Raises ``ConversionError`` naming the operators that have no kernel; errors of the dataset pass through.
    """
    name = variant.name if variant else FLOAT32
    converter = tf.lite.TFLiteConverter.from_saved_model(str(saved_model), signature_keys=[SIGNATURE])
    if variant is not None:
        _configure(converter, variant, representative)
    try:
        result: bytes = converter.convert()
    except UserError:
        raise
    except Exception as error:  # ConverterError, RuntimeError, ValueError: the converter has no common base
        raise ConversionError(f"{name}: {explain(str(error), variant)}") from error
    return result


def _configure(converter: tf.lite.TFLiteConverter, variant: Variant, representative: Representative | None) -> None:
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if variant.scheme == "float16":
        converter.target_spec.supported_types = [tf.float16]
    if not variant.needs_calibration:
        return
    converter.representative_dataset = representative
    operators = [_INTEGER_OPS[variant.scheme]]
    if variant.float_fallback:
        operators.append(tf.lite.OpsSet.TFLITE_BUILTINS)
    converter.target_spec.supported_ops = operators
    converter.inference_input_type = tf.dtypes.as_dtype(variant.io)
    converter.inference_output_type = tf.dtypes.as_dtype(variant.io)
    # The public API has no switch for these two; TensorFlow's own tests set them so.
    converter._experimental_disable_per_channel = not variant.per_channel
    converter._experimental_disable_per_channel_quantization_for_dense_layers = not variant.per_channel_dense


_NO_KERNEL = re.compile(r"(?:TF Select|Flex|Custom) ops: ([^\n]+)")
_NOT_QUANTIZABLE = re.compile(
    r"(?:Quantization (?:to \S+ )?not yet supported for op|requires quantization.*?op)[: ]+'?([\w.]+)'?"
)
_INTEGER_INPUT = re.compile(r"Max and min for dynamic tensors should be recorded.*Failed for tensor (\S+)")


def explain(message: str, variant: Variant | None) -> str:
    """The converter's message in one line: which operators, what to do; its own first line where it is unknown."""
    unsupported = sorted({op.strip() for group in _NO_KERNEL.findall(message) for op in group.split(",") if op.strip()})
    if unsupported:
        return (
            f"TensorFlow Lite has no built-in operator for {', '.join(unsupported)}; replace the layer that uses it by "
            "one made of built-in operators"
        )
    unquantizable = sorted(set(_NOT_QUANTIZABLE.findall(message)))
    if unquantizable and variant is not None:
        return no_integer_kernel(unquantizable)
    integer_input = _INTEGER_INPUT.search(message)
    if integer_input:
        return (
            f"TFLiteConverter makes no int16x8 model with integer inputs ({integer_input[1]}); use calibration engine "
            "litert, whose ranges it takes, or scheme int8"
        )
    lines = [line.strip() for line in message.splitlines() if line.strip()]
    return f"TFLiteConverter failed: {lines[0] if lines else 'without a message'}"


def no_integer_kernel(operators: list[str]) -> str:
    """What a strictly integer variant says of operators that stay float."""
    return (
        f"operators without an integer kernel: {', '.join(operators)}; set float_fallback: true for this variant to "
        "leave them in float, or replace the layer"
    )
