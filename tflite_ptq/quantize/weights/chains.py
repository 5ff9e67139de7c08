"""Pairs of linear layers with nothing between them but a ReLU, on which cross-layer equalization can work."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tflite_ptq.model.editing import Editable, Node
from tflite_ptq.quantize.correction.layers import LeftAlone
from tflite_ptq.quantize.weights.linear import Linear, find

# ActivationFunctionType of the flatbuffer schema.
_NO_ACTIVATION, _RELU = 0, 1
_ACTIVATIONS = {2: "RELU_N1_TO_1", 3: "RELU6", 4: "TANH", 5: "SIGN_BIT"}


@dataclass(frozen=True)
class Pair:
    """``second`` reads what ``first`` computes, through a ReLU or directly, and nobody else does."""

    first: Linear
    second: Linear


def find_pairs(model: Editable) -> tuple[tuple[Pair, ...], tuple[LeftAlone, ...]]:
    """The pairs in execution order, and every linear layer that is the first of none, with the reason."""
    layers, unusable = find(model)
    readers: defaultdict[int, list[Node]] = defaultdict(list)
    for node in model.nodes():
        for tensor in node.inputs:
            readers[tensor].append(node)
    by_position = {layer.node.position: layer for layer in layers}
    reasons = {left.name: left.reason for left in unusable}
    pairs: list[Pair] = []
    left = list(unusable)
    uses = Counter({tensor: len(nodes) for tensor, nodes in readers.items()})
    for layer in layers:
        found = _second(model, layer, readers, by_position, reasons)
        reason = found if isinstance(found, str) else _why_not(model, layer, found, uses)
        if reason is None and isinstance(found, Linear):
            pairs.append(Pair(layer, found))
        elif reason is not None:
            left.append(LeftAlone(layer.name, layer.kind, reason))
    order = {model.name(node.outputs[0]): node.position for node in model.nodes() if node.outputs}
    return tuple(pairs), tuple(sorted(left, key=lambda item: order[item.name]))


def _second(
    model: Editable,
    layer: Linear,
    readers: Mapping[int, Sequence[Node]],
    by_position: Mapping[int, Linear],
    reasons: Mapping[str, str],
) -> Linear | str:
    """The linear layer that alone reads this one's output, or why there is none."""
    activation = int(layer.node.options.fusedActivationFunction)
    if activation not in (_NO_ACTIVATION, _RELU):
        return f"its {_ACTIVATIONS.get(activation, 'activation')} does not scale with its input"
    tensor = layer.node.outputs[0]
    while True:
        if tensor in model.outputs:
            return "its output is an output of the model"
        following = readers.get(tensor, ())
        if len(following) != 1:
            return f"its output is read {len(following)} times"
        node = following[0]
        if node.name != "RELU":
            break
        tensor = node.outputs[0]
    name = model.name(node.outputs[0])
    second = by_position.get(node.position)
    if second is None:
        return f"{name} follows: {reasons[name]}" if name in reasons else f"{node.name} follows, not a linear layer"
    return second if second.input == tensor else f"{name} reads its output as weights or bias"


def _why_not(model: Editable, first: Linear, second: Linear, uses: Mapping[int, int]) -> str | None:
    if first.bias >= 0 and not model.is_constant(first.bias):
        return "its bias is computed by the model"
    if first.bias >= 0 and model.dtype(first.bias) != "float32":
        return f"its bias is {model.dtype(first.bias)}, not float32"
    # The converter shares one tensor of zeros among layers without a bias; dividing it changes nothing.
    shared = first.bias >= 0 and (uses[first.bias] > 1 or first.bias in model.outputs)
    if shared and model.constant(first.bias).astype(bool).any():
        return "it shares its bias"
    if second.kind == "CONV_2D" and second.groups > 1:
        return f"{second.name} follows, a grouped convolution"
    channels = model.shape(first.weights)[first.axis]
    inputs = second.groups if second.kind == "DEPTHWISE_CONV_2D" else model.shape(second.weights)[-1]
    if inputs != channels:
        return f"{second.name} has {inputs} inputs, not its {channels} channels"
    return None
