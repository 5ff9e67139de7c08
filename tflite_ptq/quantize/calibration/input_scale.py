"""Whether a model scales its input itself, read off the operators and weights that its float file begins with.

A Rescaling or Normalization layer becomes MUL, ADD, SUB and DIV with small constants right behind the input. Together
they make ``y = gain * x + offset``: ``x`` is meant to lie around ``-offset / gain`` and to spread by ``1 / |gain|``.
TFLiteConverter folds a Rescaling into the first convolution where it can, so that layer's weights are looked at too:
those made for values around 1 have a Euclidean norm around 1 for each output channel (He et al. 2015: sqrt(2)), folded
ones 1/255 of it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tflite_ptq.model.editing import Editable, Node
from tflite_ptq.model.keras_config import LARGE

Channels = NDArray[np.float64]

_WEIGHTED = frozenset({"CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED"})
_ARITHMETIC = frozenset({"MUL", "DIV", "ADD", "SUB"})
# What changes where a value stands, its dtype or its neighbours, but not its scale; all take the value first.
_PASSING = frozenset(
    {"CAST", "RESHAPE", "EXPAND_DIMS", "SQUEEZE", "TRANSPOSE", "PAD", "STRIDED_SLICE", "SLICE", "REVERSE_V2", "GATHER"}
    | {"RESIZE_BILINEAR", "RESIZE_NEAREST_NEIGHBOR", "QUANTIZE", "DEQUANTIZE"}
)


@dataclass(frozen=True)
class _Scaling:
    """y = gain * x + offset, each one number or one a channel."""

    gain: Channels
    offset: Channels

    @property
    def for_large_numbers(self) -> bool:
        gain = np.abs(self.gain)
        if not np.all(gain > 0):
            return False
        return bool(max(np.median(1 / gain), np.median(np.abs(self.offset) / gain)) >= LARGE)


def rescales_input(model: Editable) -> bool | None:
    """Whether the model begins by bringing large numbers (0..255, say) to the scale that its network works at.

    That holds too for a network whose first weights were trained on such numbers. ``False`` where it does not, also
    where it takes scaled values and changes them a little. ``None`` where no operator takes an input.
    """
    consumers: dict[int, list[Node]] = {}
    for node in model.nodes():
        for index in dict.fromkeys(node.inputs):
            consumers.setdefault(index, []).append(node)
    identity = _Scaling(np.ones(1), np.zeros(1))
    pending = [(index, identity) for index in model.inputs]
    if not any(index in consumers for index, _ in pending):
        return None
    while pending:
        tensor, scaling = pending.pop()
        if scaling.for_large_numbers:
            return True
        for node in consumers.get(tensor, []):
            norm = _largest_norm(model, node, tensor)
            if norm is not None and 0 < norm * float(np.median(np.abs(scaling.gain))) <= 1 / LARGE:
                return True
            after = _after(model, node, tensor, scaling)
            if after is not None:
                pending.append((node.outputs[0], after))
    return False


def _after(model: Editable, node: Node, tensor: int, scaling: _Scaling) -> _Scaling | None:
    """The scaling behind an operator; ``None`` where the network proper begins."""
    if node.name in _PASSING and node.inputs[0] == tensor:
        single = _Scaling(_middle(scaling.gain), _middle(scaling.offset))
        return single if node.name not in ("CAST", "QUANTIZE", "DEQUANTIZE") else scaling  # the channels may have moved
    if node.name not in _ARITHMETIC:
        return None
    first = node.inputs[0] == tensor
    value = _small_constant(model, node.inputs[1] if first else node.inputs[0], tensor)
    if value is None or _clash(value, scaling.gain) or _clash(value, scaling.offset):
        return None
    gain, offset = scaling.gain, scaling.offset
    if node.name == "MUL":
        return _Scaling(gain * value, offset * value)
    if node.name == "ADD":
        return _Scaling(gain, offset + value)
    if node.name == "SUB":
        return _Scaling(gain, offset - value) if first else _Scaling(-gain, value - offset)
    # constant / x is no scaling
    return _Scaling(gain / value, offset / value) if first and np.all(value != 0) else None


def _small_constant(model: Editable, index: int, beside: int) -> Channels | None:
    """A stored number, or one a channel, as float64 ``(1,)`` or ``(C,)``."""
    value = _stored(model, index)
    if value is None:
        return None
    shape = model.shape(beside)
    per_channel = bool(shape and value.ndim) and value.shape[-1] == value.size == shape[-1]
    return value.reshape(-1) if value.size == 1 or per_channel else None


def _largest_norm(model: Editable, node: Node, tensor: int) -> float | None:
    """The largest Euclidean norm of the weights of one output channel; ``None`` where the layer is of another kind.

    Weights: CONV_2D ``(O, H, W, I)``, FULLY_CONNECTED ``(O, I)``, DEPTHWISE_CONV_2D ``(1, H, W, O)``.
    """
    if node.name not in _WEIGHTED or node.inputs[0] != tensor:
        return None
    weights = _stored(model, node.inputs[1])
    if weights is None or weights.size == 0:
        return None
    axes = tuple(range(weights.ndim - 1)) if node.name == "DEPTHWISE_CONV_2D" else tuple(range(1, weights.ndim))
    return float(np.sqrt(np.square(weights).sum(axis=axes)).max())


def _stored(model: Editable, index: int) -> Channels | None:
    """A stored float value as float64; float16 ones stand behind a DEQUANTIZE."""
    if index < 0:
        return None
    if not model.is_constant(index):
        makers = [node for node in model.nodes() if index in node.outputs and node.name == "DEQUANTIZE"]
        if not makers or not model.is_constant(makers[0].inputs[0]):
            return None
        index = makers[0].inputs[0]
    if model.dtype(index) not in ("float16", "float32", "float64"):
        return None
    return model.constant(index).astype(np.float64)


def _clash(one: Channels, other: Channels) -> bool:
    return one.size != other.size and 1 not in (one.size, other.size)


def _middle(values: Channels) -> Channels:
    return np.atleast_1d(np.median(values))
