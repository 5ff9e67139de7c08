"""Cross-layer equalization: channels of very different ranges are balanced between two layers, in float.

Nagel et al., "Data-Free Quantization Through Weight Equalization and Bias Correction" (ICCV 2019), arXiv 1906.04721,
section 4.1. ReLU and the identity satisfy f(s x) = s f(x) for s > 0, so with S = diag(s)

    W2 f(W1 x + b1) + b2 = (W2 S) f(S^-1 W1 x + S^-1 b1) + b2

and the choice s_i = sqrt(r1_i r2_i) / r2_i = sqrt(r1_i / r2_i), r1_i = max|row i of W1|, r2_i = max|column i of W2|,
gives channel i the range sqrt(r1_i r2_i) in both layers. The activations between the two shrink by 1/s_i: ranges
measured before no longer hold, so calibrate afterwards.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from tflite_ptq.model.editing import Editable
from tflite_ptq.quantize.correction.layers import LeftAlone
from tflite_ptq.quantize.weights.chains import Pair, find_pairs
from tflite_ptq.quantize.weights.linear import Linear
from tflite_ptq.quantize.weights.ranges import Floats

_ROUNDS = 200
_SETTLED = 5e-3  # the largest |log s| of a round
_LARGEST_SCALE = 1e4  # s stays in 1e-4..1e4: a dead channel must not drown the others in its bias
_DEAD = 1e-8  # a channel's range against the layer's largest


@dataclass(frozen=True)
class Equalized:
    """A pair by its layers' names; the smallest and largest s of its channels (W1 / s, W2 * s)."""

    first: str
    second: str
    smallest_scale: float
    largest_scale: float


@dataclass(frozen=True)
class Equalization:
    """What was balanced, what was left alone, and in how many rounds the scales settled (None: they did not)."""

    pairs: tuple[Equalized, ...]
    left_alone: tuple[LeftAlone, ...]
    rounds: int | None


def equalize(model: Editable) -> Equalization:
    """Balances every pair of the float ``model`` in place, round after round until all settle; its function stays.

    A layer can be the second of one pair and the first of the next, so one round is not enough. Weights and biases
    change by float32 rounding only once, at the end.
    """
    pairs, left = find_pairs(model)
    layers = {layer.weights: layer for pair in pairs for layer in (pair.first, pair.second)}
    weights = {tensor: model.constant(tensor).astype(np.float64) for tensor in layers}
    totals = [np.ones(_outputs(pair.first, weights)) for pair in pairs]
    settled: int | None = None
    for number in range(1, _ROUNDS + 1):
        moved = max((_balance(pair, weights, total) for pair, total in zip(pairs, totals, strict=True)), default=0.0)
        if moved < _SETTLED:
            settled = number
            break
    for tensor, value in weights.items():
        model.set_constant(tensor, value.astype(np.float32))
    _scale_biases(model, pairs, totals)
    done = tuple(
        Equalized(pair.first.name, pair.second.name, float(total.min()), float(total.max()))
        for pair, total in zip(pairs, totals, strict=True)
    )
    return Equalization(done, left, settled)


def balancing_scales(first: Floats, second: Floats) -> Floats:
    """s_i = sqrt(r1_i / r2_i) from the ranges of a channel in both layers, (C,); 1 where either is as good as zero."""
    alive = (first > _DEAD * first.max(initial=0.0)) & (second > _DEAD * second.max(initial=0.0))
    scales: Floats = np.sqrt(np.divide(first, second, out=np.ones_like(first), where=alive))
    return scales


def _balance(pair: Pair, weights: Mapping[int, Floats], total: Floats) -> float:
    """One step on one pair: edits the two weights and the pair's ``total`` s; the largest |log s| of the step."""
    first, second = _by_output(pair.first, weights), _by_input(pair.second, weights, len(total))
    wanted = balancing_scales(np.abs(first).max(axis=(0, 2)), np.abs(second).max(axis=(0, 2)))
    step = np.clip(total * wanted, 1 / _LARGEST_SCALE, _LARGEST_SCALE) / total
    first /= step[:, None]
    second *= step[:, None]
    total *= step
    return float(np.abs(np.log(step)).max())


def _by_output(layer: Linear, weights: Mapping[int, Floats]) -> Floats:
    """A view of the weights as (before, output channels, after)."""
    value = weights[layer.weights]
    return value.reshape(-1, value.shape[3], 1) if layer.axis == 3 else value.reshape(1, value.shape[0], -1)


def _by_input(layer: Linear, weights: Mapping[int, Floats], channels: int) -> Floats:
    """A view as (before, input channels, after): the last dimension of the weights; of a depthwise layer the output
    channels, of which each input channel has as many in a row as the depth multiplier says."""
    return weights[layer.weights].reshape(-1, channels, weights[layer.weights].shape[-1] // channels)


def _outputs(layer: Linear, weights: Mapping[int, Floats]) -> int:
    return int(weights[layer.weights].shape[layer.axis])


def _scale_biases(model: Editable, pairs: Sequence[Pair], totals: Sequence[Floats]) -> None:
    for pair, total in zip(pairs, totals, strict=True):
        bias = model.constant(pair.first.bias) if pair.first.bias >= 0 else np.zeros(0)
        if bias.astype(np.bool_).any():
            scaled = bias.astype(np.float64).reshape(-1) / total
            model.set_constant(pair.first.bias, scaled.astype(np.float32).reshape(bias.shape))
