"""Tensor by tensor, how far a quantized model's activations are from the float model's on the same samples."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tflite_ptq.model.editing import Affine, Editable
from tflite_ptq.model.tap import watching

Array = NDArray[np.generic]
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Pair:
    """The same activation in both models: its name in the float model and its tensor index in each."""

    name: str
    reference: int
    quantized: int


@dataclass(frozen=True)
class ErrorOfTensor:
    """Real values over all samples. Sign: error = quantized - float.

    ``sqnr_db`` = 10 log10(sum of float^2 / sum of error^2); ``None`` where it is not finite: no noise (``exact``), or
    noise upon zeros. ``bias_share`` = sum over channels c of n_c * mean_error_c^2, over the sum of error^2 (0..1),
    channels along the last axis. ``clipped_below`` and ``clipped_above``: shares of values whose code is at its integer
    limit while the float value lies more than half a step beyond what that limit stands for; ``None`` in float.
    ``non_finite``: a value was NaN or infinite; then there are no figures.
    """

    sqnr_db: float | None = None
    exact: bool = False
    non_finite: bool = False
    mean_error: float | None = None
    max_error: float | None = None
    bias_share: float | None = None
    clipped_below: float | None = None
    clipped_above: float | None = None
    crest_factor: float | None = None


class ErrorSums:
    """Sums over samples of one activation; ``affine`` and ``dtype`` are the quantized tensor's (per tensor)."""

    def __init__(self, affine: Affine | None, dtype: str) -> None:
        self._affine = affine
        self._limits = np.iinfo(dtype) if affine is not None else None
        self._signal = self._noise = 0.0
        self._errors: Floats = np.zeros(1)
        self._count = self._below = self._above = 0
        self._largest = self._largest_error = 0.0
        self._non_finite = False

    def add(self, real: Array, stored: Array) -> None:
        """One sample: the float model's values and the quantized model's codes (or reals), of the same shape."""
        want = real.astype(np.float64)
        got = stored.astype(np.float64)
        if self._affine is not None:
            scale, zero_point = float(self._affine.scale[0]), int(self._affine.zero_point[0])
            self._count_clipped(want, got, scale, zero_point)
            got = scale * (got - zero_point)
        error = got - want
        noise = float(np.vdot(error, error))
        if not math.isfinite(noise):
            self._non_finite = True
            return
        self._signal += float(np.vdot(want, want))
        self._noise += noise
        self._errors = self._errors + (error.reshape(-1, error.shape[-1]).sum(axis=0) if error.ndim else error)
        self._count += error.size
        if error.size:
            self._largest = max(self._largest, float(np.abs(want).max()))
            self._largest_error = max(self._largest_error, float(np.abs(error).max()))

    def _count_clipped(self, want: Floats, codes: Floats, scale: float, zero_point: int) -> None:
        assert self._limits is not None
        low, high = scale * (self._limits.min - zero_point), scale * (self._limits.max - zero_point)
        self._below += int(np.count_nonzero((codes == self._limits.min) & (want < low - scale / 2)))
        self._above += int(np.count_nonzero((codes == self._limits.max) & (want > high + scale / 2)))

    def result(self) -> ErrorOfTensor:
        """The figures of all samples added; at least one value."""
        if self._non_finite:
            return ErrorOfTensor(non_finite=True)
        per_channel = self._count / len(self._errors)
        of_means = float(np.vdot(self._errors, self._errors)) / per_channel
        finite = self._signal > 0 and self._noise > 0
        counted = self._affine is not None
        return ErrorOfTensor(
            sqnr_db=10 * math.log10(self._signal / self._noise) if finite else None,
            exact=self._noise == 0,
            mean_error=float(self._errors.sum()) / self._count,
            max_error=self._largest_error,
            bias_share=min(1.0, of_means / self._noise) if self._noise > 0 else 0.0,
            clipped_below=self._below / self._count if counted else None,
            clipped_above=self._above / self._count if counted else None,
            crest_factor=self._largest / math.sqrt(self._signal / self._count) if self._signal > 0 else None,
        )


def pairs(reference: Editable, quantized: Editable) -> tuple[Pair, ...]:
    """The activations of the float model that the quantized one has under the same name, in execution order.

    At float inputs and outputs of the quantized model the integer tensor beyond QUANTIZE or DEQUANTIZE is taken.
    """
    named = quantized.named()
    beyond: dict[int, int] = {}
    for node in quantized.nodes():
        if node.name == "DEQUANTIZE" and node.outputs[0] in quantized.outputs:
            beyond[node.outputs[0]] = node.inputs[0]
        elif node.name == "QUANTIZE" and node.inputs[0] in quantized.inputs:
            beyond[node.inputs[0]] = node.outputs[0]
    found = []
    for tensor in reference.activations():
        name = reference.name(tensor)
        other = named.get(name)
        if other is None or quantized.is_constant(other):
            continue
        other = beyond.get(other, other)
        if quantized.shape(other) == reference.shape(tensor):
            found.append(Pair(name, tensor, other))
    return tuple(found)


def tensor_errors(
    reference: Editable,
    quantized: Editable,
    watched: Sequence[Pair],
    samples: Iterable[tuple[Sequence[Array], Sequence[Array]]],
) -> dict[str, ErrorOfTensor]:
    """Errors by tensor name. ``samples`` are the inputs of either model, in order and in its own dtypes.

    Raises ``MeasurementError`` where LiteRT cannot run a model.
    """
    left = watching(reference, [pair.reference for pair in watched])
    right = watching(quantized, [pair.quantized for pair in watched])
    sums = [ErrorSums(quantized.affine(pair.quantized), quantized.dtype(pair.quantized)) for pair in watched]
    for real, own in samples:
        left.run(real)
        right.run(own)
        for position, one in enumerate(sums):
            one.add(left.view(position), right.view(position))
    return {pair.name: one.result() for pair, one in zip(watched, sums, strict=True)}


def weight_sqnr_db(weights: Floats, quantized: Floats) -> float | None:
    """10 log10(sum of weights^2 / sum of (weights - quantized)^2), real values; ``None`` where it is not finite."""
    signal, noise = float(np.vdot(weights, weights)), float(np.sum((weights - quantized) ** 2))
    return 10 * math.log10(signal / noise) if signal > 0 and noise > 0 else None
