"""The layers of a quantized model beside the same layers of the float model, and what is left alone with its reason."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import cast, get_args

import numpy as np

from tflite_ptq.model.editing import Editable, Node
from tflite_ptq.quantize.correction.response import Floats, Geometry, Kind

_PADDING_SAME = 0
_ABSENT = -1
_LINEAR = frozenset({"CONV_3D", "CONV_3D_TRANSPOSE", "BATCH_MATMUL"})


@dataclass(frozen=True)
class Layer:
    """A linear layer in both models. Weights are real values; ``bias`` is -1 where the quantized layer has none.

    ``shares_bias``: other operators read the same tensor (zeros, mostly), so a corrected one must be another.
    ``bias_scale``: real bias[o] = bias_scale[o] * stored bias[o], or the one bias_scale that there is where the weights
    have one scale; ``None`` where the stored bias is float.
    """

    name: str
    kind: Kind
    geometry: Geometry
    node: Node
    weights: Floats
    quantized_weights: Floats
    float_input: int
    quantized_input: int
    bias: int
    shares_bias: bool
    bias_scale: Floats | None

    @property
    def channels(self) -> int:
        """Number of output channels."""
        return int(self.weights.shape[3] if self.kind == "DEPTHWISE_CONV_2D" else self.weights.shape[0])


@dataclass(frozen=True)
class LeftAlone:
    """A layer that the correction passes over."""

    name: str
    kind: str
    reason: str


def match(reference: Editable, quantized: Editable) -> tuple[tuple[Layer, ...], tuple[LeftAlone, ...]]:
    """The layers that can be corrected, in execution order, and the linear ones that cannot.

    A layer is found again by the name of its output, which TFLiteConverter's quantizer mostly keeps; else by that of
    its weights, where only one layer has them: the output of a TRANSPOSE_CONV without a bias comes back renamed.
    """
    layers: list[Layer] = []
    left: list[LeftAlone] = []
    by_output = {reference.name(node.outputs[0]): node for node in reference.nodes() if node.outputs}
    by_weights: dict[tuple[str, str], list[Node]] = {}
    for node in reference.nodes():
        if node.name in get_args(Kind):
            by_weights.setdefault((node.name, reference.name(_weights_of(node))), []).append(node)
    uses = Counter(tensor for node in quantized.nodes() for tensor in node.inputs)
    # Before a float output the quantizer puts DEQUANTIZE, which takes the name over.
    aliases = {
        node.inputs[0]: quantized.name(node.outputs[0])
        for node in quantized.nodes()
        if node.name == "DEQUANTIZE" and node.outputs[0] in quantized.outputs
    }
    for node in quantized.nodes():
        if node.name not in get_args(Kind) and node.name not in _LINEAR:
            continue
        name = aliases.get(node.outputs[0], quantized.name(node.outputs[0]))
        original = by_output.get(name)
        alike = by_weights.get((node.name, quantized.name(_weights_of(node))), [])
        if original is None and len(alike) == 1:
            original = alike[0]
            name = reference.name(original.outputs[0])
        reason = _why_not(reference, original, quantized, node)
        if reason is not None:
            left.append(LeftAlone(name, node.name, reason))
        elif original is not None:
            shares_bias = uses[_bias_of(node)] > 1
            layers.append(_layer(name, reference, original, quantized, node, shares_bias=shares_bias))
    return tuple(layers), tuple(left)


def _why_not(reference: Editable, original: Node | None, quantized: Editable, node: Node) -> str | None:
    if node.name in _LINEAR:
        return "no correction is known for this kind of layer"
    if original is None or original.name != node.name:
        return "the quantizer renamed or replaced it"
    weights = _weights_of(node)
    if not quantized.is_constant(weights) or not reference.is_constant(_weights_of(original)):
        return "its weights are computed by the model"
    if quantized.affine(weights) is None or quantized.dtype(weights) != "int8":
        return "its weights are not quantized"
    if reference.shape(_weights_of(original)) != quantized.shape(weights):
        return "the quantizer changed the shape of its weights"
    if reference.dtype(_weights_of(original)) != "float32":
        return "its weights are not float32 in the float model"
    bias = _bias_of(node)
    if bias >= 0 and not quantized.is_constant(bias):
        return "its bias is computed by the model"
    return None


def _layer(
    name: str, reference: Editable, original: Node, quantized: Editable, node: Node, *, shares_bias: bool
) -> Layer:
    kind = cast("Kind", node.name)
    weights = reference.constant(_weights_of(original)).astype(np.float64)
    source = _input_of(node)
    activation, stored = quantized.affine(source), quantized.affine(_weights_of(node))
    assert stored is not None
    axis = [1] * weights.ndim
    if len(stored.scale) > 1:
        axis[stored.quantized_dimension] = len(stored.scale)
    codes = quantized.constant(_weights_of(node)).astype(np.float64)
    real = stored.scale.reshape(axis) * (codes - stored.zero_point.reshape(axis))
    scale = None if activation is None else activation.scale[0] * stored.scale
    return Layer(
        name,
        kind,
        geometry_of(quantized, node),
        node,
        weights,
        real,
        _input_of(original),
        source,
        _bias_of(node),
        shares_bias,
        scale,
    )


def geometry_of(model: Editable, node: Node) -> Geometry:
    """How the kernel of a linear layer moves, from its options and the shape of its output."""
    if node.name == "FULLY_CONNECTED":
        return Geometry()
    options = node.options
    shape = model.shape(node.outputs[0])
    dilation = (1, 1) if node.name == "TRANSPOSE_CONV" else (options.dilationHFactor, options.dilationWFactor)
    return Geometry(
        (options.strideH, options.strideW), dilation, options.padding == _PADDING_SAME, (shape[1], shape[2])
    )


def _weights_of(node: Node) -> int:
    return node.inputs[1]


def _input_of(node: Node) -> int:
    return node.inputs[2] if node.name == "TRANSPOSE_CONV" else node.inputs[0]


def _bias_of(node: Node) -> int:
    position = 3 if node.name == "TRANSPOSE_CONV" else 2
    return node.inputs[position] if len(node.inputs) > position else _ABSENT
