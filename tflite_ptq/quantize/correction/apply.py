"""Writing a corrected bias into a quantized model."""

from __future__ import annotations

import numpy as np

from tflite_ptq.model.editing import Editable
from tflite_ptq.quantize.correction.layers import Layer
from tflite_ptq.quantize.correction.response import Floats


def add_to_bias(model: Editable, layer: Layer, delta: Floats) -> None:
    """Adds ``delta`` (real values, one an output channel) to the layer's bias in ``model``.

    An integer bias stores round(real / bias_scale), bias_scale = input scale * weight scale of the channel (TFLite
    8-bit quantization specification); it is clipped to its dtype. A layer without a bias of its own is given one.
    """
    if layer.bias_scale is None:
        _store(model, layer, _current(model, layer, np.dtype(np.float32)) + delta, np.dtype(np.float32))
        return
    # TFLite's kernels take 64-bit biases with 16-bit activations, 32-bit ones with 8-bit activations.
    stored = model.dtype(layer.bias) if layer.bias >= 0 else ""
    wide = stored == "int64" or (not stored and model.dtype(layer.quantized_input) == "int16")
    dtype: np.dtype[np.int64] | np.dtype[np.int32] = np.dtype(np.int64) if wide else np.dtype(np.int32)
    steps = np.rint(np.divide(delta, layer.bias_scale, out=np.zeros_like(delta), where=layer.bias_scale > 0))
    limits = np.iinfo(dtype)
    _store(model, layer, np.clip(_current(model, layer, dtype) + steps, limits.min, limits.max), dtype)


def _current(model: Editable, layer: Layer, dtype: np.dtype[np.generic]) -> Floats:
    if layer.bias < 0:
        return np.zeros(layer.channels)
    return model.constant(layer.bias).astype(np.float64).reshape(-1)


def _store(model: Editable, layer: Layer, value: Floats, dtype: np.dtype[np.generic]) -> None:
    if layer.bias >= 0 and not layer.shares_bias:
        model.set_constant(layer.bias, value.astype(dtype).reshape(model.shape(layer.bias)))
    else:
        model.add_bias(layer.node, value.astype(dtype), layer.bias_scale)
