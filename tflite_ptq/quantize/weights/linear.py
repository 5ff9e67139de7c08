"""The linear layers of a float model whose weights can be changed, and their weights as rows of a matrix."""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import dataclass
from typing import cast, get_args

import numpy as np

from tflite_ptq.model.editing import Editable, Node
from tflite_ptq.quantize.correction.layers import LeftAlone, geometry_of
from tflite_ptq.quantize.correction.response import Geometry, Kind
from tflite_ptq.quantize.weights.ranges import Floats

_ABSENT = -1
_UNKNOWN = frozenset({"CONV_3D", "CONV_3D_TRANSPOSE", "BATCH_MATMUL"})


@dataclass(frozen=True)
class Linear:
    """A layer of the float model: tensor indices of its input, weights and bias (-1: none), and how its kernel moves.

    ``groups``: into how many parts its channels fall that do not see each other; a depthwise layer's input channels.
    ``inputs``: how many weights an output channel has, K.
    """

    name: str
    kind: Kind
    node: Node
    input: int
    weights: int
    bias: int
    kernel: tuple[int, int]
    geometry: Geometry
    groups: int
    inputs: int

    @property
    def axis(self) -> int:
        """The output channels' dimension of the weights, along which TFLite quantizes per channel."""
        return 3 if self.kind == "DEPTHWISE_CONV_2D" else 0


def find(model: Editable) -> tuple[tuple[Linear, ...], tuple[LeftAlone, ...]]:
    """The layers in execution order whose weights only they use, and the linear ones left alone with the reason."""
    found: list[Linear] = []
    left: list[LeftAlone] = []
    uses = Counter(tensor for node in model.nodes() for tensor in node.inputs)
    uses.update(model.outputs)
    contents = Counter(
        _digest(model, tensor) for node in model.nodes() for tensor in set(node.inputs) if _is_weight(model, tensor)
    )
    for node in model.nodes():
        if node.name not in get_args(Kind) and node.name not in _UNKNOWN:
            continue
        reason = _why_not(model, node, uses, contents)
        name = model.name(node.outputs[0])
        if reason is None:
            found.append(_linear(model, name, node))
        else:
            left.append(LeftAlone(name, node.name, reason))
    return tuple(found), tuple(left)


def to_rows(weights: Floats, kind: Kind, groups: int) -> Floats:
    """The weights as (groups, output channels of a group, inputs of an output channel).

    From TFLite's layouts: CONV_2D (O, kh, kw, I), DEPTHWISE_CONV_2D (1, kh, kw, O), FULLY_CONNECTED (O, I). A group's
    inputs are ordered (kh, kw, channels of the group).
    """
    if kind == "DEPTHWISE_CONV_2D":
        taps = weights.shape[1] * weights.shape[2]
        return np.moveaxis(weights.reshape(taps, groups, -1), 0, 2)
    return weights.reshape(groups, weights.shape[0] // groups, -1)


def from_rows(rows: Floats, kind: Kind, shape: tuple[int, ...]) -> Floats:
    """The inverse of ``to_rows``."""
    return (np.moveaxis(rows, 2, 0) if kind == "DEPTHWISE_CONV_2D" else rows).reshape(shape)


def _why_not(model: Editable, node: Node, uses: Counter[int], contents: Counter[str]) -> str | None:
    if node.name in _UNKNOWN:
        return "no treatment is known for the weights of this kind of layer"
    weights = node.inputs[1]
    if not model.is_constant(weights):
        return "its weights are computed by the model"
    if model.dtype(weights) != "float32":
        return f"its weights are {model.dtype(weights)}, not float32"
    # Layers that store the same values share one buffer; changed each in its own way they would be stored twice.
    if uses[weights] > 1 or contents[_digest(model, weights)] > 1:
        return "it shares its weights"
    if not np.isfinite(model.constant(weights).astype(np.float64)).all():
        return "its weights hold NaN or infinity"
    return None


def _is_weight(model: Editable, tensor: int) -> bool:
    return tensor != _ABSENT and model.is_constant(tensor) and len(model.shape(tensor)) > 1


def _digest(model: Editable, tensor: int) -> str:
    return f"{model.shape(tensor)}{hashlib.sha256(model.constant(tensor).tobytes()).hexdigest()}"


def _linear(model: Editable, name: str, node: Node) -> Linear:
    kind = cast("Kind", node.name)
    source, bias = (2, 3) if kind == "TRANSPOSE_CONV" else (0, 2)
    shape = model.shape(node.inputs[1])
    groups = 1
    if kind == "DEPTHWISE_CONV_2D":
        groups = model.shape(node.inputs[source])[3]
    elif kind == "CONV_2D":
        groups = model.shape(node.inputs[source])[3] // shape[3]
    return Linear(
        name,
        kind,
        node,
        node.inputs[source],
        node.inputs[1],
        node.inputs[bias] if len(node.inputs) > bias else _ABSENT,
        (1, 1) if kind == "FULLY_CONNECTED" else (shape[1], shape[2]),
        geometry_of(model, node),
        groups,
        int(np.prod(shape[1:3] if kind == "DEPTHWISE_CONV_2D" else shape[1:], dtype=np.int64)),
    )
