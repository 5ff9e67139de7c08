"""Bias correction: how much a layer's bias must change so that quantization leaves its mean output where it was.

Nagel et al., "Data-Free Quantization Through Weight Equalization and Bias Correction" (ICCV 2019), section 4.2, with
measured instead of assumed means. A layer computes y = W x + b in float and y' = Wq x' + b' quantized. Adding

    delta = E[W x] - E[Wq x']        (b' = b + delta)

makes E[y'] = E[y] before any fused activation. Both terms are means of linear functions, so mean input maps suffice.
"""

from __future__ import annotations

from tflite_ptq.quantize.correction.layers import Layer
from tflite_ptq.quantize.correction.response import Floats, mean_response


def one_pass(layer: Layer, mean_input: Floats) -> Floats:
    """delta for x' = x: only the error of the layer's own weights, (W - Wq) E[x]; shape (O,).

    ``mean_input``: the mean float input map without the batch.
    """
    return mean_response(layer.kind, layer.weights - layer.quantized_weights, mean_input, layer.geometry)


def sequential(layer: Layer, mean_float_input: Floats, mean_quantized_input: Floats) -> Floats:
    """delta with the error that reaches the layer included: W E[x] - Wq E[x']; shape (O,).

    ``mean_quantized_input``: real values, with all layers before already corrected.
    """
    wanted = mean_response(layer.kind, layer.weights, mean_float_input, layer.geometry)
    return wanted - mean_response(layer.kind, layer.quantized_weights, mean_quantized_input, layer.geometry)
