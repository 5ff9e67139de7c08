"""What a layer's inputs look like on calibration samples: the second moments that decide what a weight error costs.

For one output channel y = w . x the squared error of the output, summed over all x seen, is dw H dw^T with
H = sum x x^T. A bias that is corrected afterwards takes the mean error out, and what stays is the centred
H = sum (x - m)(x - m)^T = sum x x^T - n m m^T.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tflite_ptq.model.editing import Editable
from tflite_ptq.model.tap import watching
from tflite_ptq.quantize.weights.linear import Linear
from tflite_ptq.quantize.weights.ranges import Floats

Array = NDArray[np.generic]
Singles = NDArray[np.float32]

MOST_INPUTS = 4096  # of one output channel: a Hessian of 134 MB, and some ten seconds to invert
_MOST_BYTES = 1 << 29
_ROWS_LEAST = 8192
_ROWS_AN_INPUT = 16
_ROWS_TOGETHER = 512
_GOLDEN = (math.sqrt(5) - 1) / 2


@dataclass(frozen=True)
class Moments:
    """Sums over ``rows`` input vectors x of K values for each of G groups: x x^T (G, K, K) and x (G, K), float64."""

    second: Floats
    first: Floats
    rows: int

    def hessian(self, *, centred: bool) -> Floats:
        """sum x x^T, or sum (x - m)(x - m)^T where ``centred``; (G, K, K)."""
        if not centred:
            return self.second
        return self.second - self.first[:, :, None] * self.first[:, None, :] / self.rows


def patches(layer: Linear, activation: Array, positions: NDArray[np.int64] | None = None) -> Singles:
    """The input vectors of a layer, (G, positions, K) float32, K = kh * kw * channels of a group.

    ``activation``: (N, H, W, C), zero outside; for FULLY_CONNECTED (..., K). ``positions``: output positions, counted
    in (N, out_h, out_w), or vectors of a FULLY_CONNECTED layer; all where None.
    """
    values = activation.astype(np.float32, copy=False)
    picked = np.arange(count_positions(layer, activation.shape)) if positions is None else positions
    if layer.kind == "FULLY_CONNECTED":
        return values.reshape(-1, layer.inputs)[picked][None]
    geometry = layer.geometry
    padded = _padded(values, layer)
    sample, y, x = np.unravel_index(picked, (len(values), *geometry.output))
    rows = (y * geometry.stride[0])[:, None] + np.arange(layer.kernel[0]) * geometry.dilation[0]
    columns = (x * geometry.stride[1])[:, None] + np.arange(layer.kernel[1]) * geometry.dilation[1]
    taken = padded[sample[:, None, None], rows[:, :, None], columns[:, None, :]]  # (positions, kh, kw, C)
    grouped = taken.reshape(len(picked), layer.kernel[0] * layer.kernel[1], layer.groups, -1)
    return np.ascontiguousarray(np.moveaxis(grouped, 2, 0)).reshape(layer.groups, len(picked), layer.inputs)


def count_positions(layer: Linear, shape: Sequence[int]) -> int:
    """How many input vectors an activation of that shape holds."""
    if layer.kind == "FULLY_CONNECTED":
        return math.prod(shape) // layer.inputs
    return shape[0] * math.prod(layer.geometry.output)


def spread(total: int, wanted: int, turn: int) -> NDArray[np.int64]:
    """``wanted`` of ``total`` positions, evenly spaced; each turn starts elsewhere, so that all are met in the end.

    The start follows the golden ratio's sequence (frac(turn * 0.618...)), which fills an interval evenly.
    """
    if wanted >= total:
        return np.arange(total)
    start = (turn * _GOLDEN) % 1.0
    return ((np.arange(wanted) + start) * (total / wanted)).astype(np.int64)


def gather(model: Editable, layers: Sequence[Linear], samples: Sequence[Sequence[Array]]) -> dict[str, Moments]:
    """The moments of each layer's inputs, by the layer's name.

    ``samples``: per sample the model's inputs in its dtypes and shapes. Of each sample a layer contributes at most
    max(8192, 16 K) / samples output positions (rounded up), evenly spread and elsewhere each time: the cost is bounded
    and nothing is left to chance. The caller leaves out what ``why_no_hessian`` names, and takes many layers in
    ``passes``. Raises ``MeasurementError`` where LiteRT fails.
    """
    watched = tuple(dict.fromkeys(layer.input for layer in layers))
    tap = watching(model, watched)
    sums = [_Sum(layer) for layer in layers]
    for turn, sample in enumerate(samples):
        tap.run(sample)
        for layer, mine in zip(layers, sums, strict=True):
            wanted = -(-max(_ROWS_LEAST, _ROWS_AN_INPUT * layer.inputs) // len(samples))
            # No name is given to the view: the interpreter refuses to run while one holds its memory.
            mine.add(_some_patches(layer, tap.view(watched.index(layer.input)), wanted, turn))
    return {layer.name: mine.moments() for layer, mine in zip(layers, sums, strict=True)}


def why_no_hessian(layer: Linear) -> str | None:
    """Why the layer's inputs are not gathered; ``None`` where they are."""
    if layer.kind == "TRANSPOSE_CONV":
        return "error-compensated rounding does not know transposed convolutions"
    if layer.inputs > MOST_INPUTS:
        return f"an output channel has {layer.inputs} inputs; error-compensated rounding stops at {MOST_INPUTS}"
    return None


class _Sum:
    """Adds up one layer's moments, some hundred input vectors at a time: many small products cost far more."""

    def __init__(self, layer: Linear) -> None:
        self._second = np.zeros((layer.groups, layer.inputs, layer.inputs))
        self._first = np.zeros((layer.groups, layer.inputs))
        self._rows = 0
        self._waiting: list[Singles] = []

    def add(self, x: Singles) -> None:
        """Input vectors (G, rows, K)."""
        self._waiting.append(x)
        if sum(part.shape[1] for part in self._waiting) >= _ROWS_TOGETHER:
            self._flush()

    def moments(self) -> Moments:
        """The sums over all that was added."""
        self._flush()
        return Moments(self._second, self._first, self._rows)

    def _flush(self) -> None:
        if not self._waiting:
            return
        x = np.concatenate(self._waiting, axis=1)
        self._waiting.clear()
        # float32 within a product, where BLAS is twice as fast; float64 over the products.
        self._second += np.swapaxes(x, 1, 2) @ x
        self._first += x.sum(axis=1, dtype=np.float64)
        self._rows += x.shape[1]


def _some_patches(layer: Linear, activation: Array, wanted: int, turn: int) -> Singles:
    return patches(layer, activation, spread(count_positions(layer, activation.shape), wanted, turn))


def passes(layers: Sequence[Linear]) -> Iterator[list[Linear]]:
    """The layers in parts, the sums of each under half a gigabyte (but for a layer that alone has more)."""
    part: list[Linear] = []
    size = 0
    for layer in layers:
        mine = 8 * layer.groups * layer.inputs**2
        if part and size + mine > _MOST_BYTES:
            yield part
            part, size = [], 0
        part.append(layer)
        size += mine
    if part:
        yield part


def _padded(values: Singles, layer: Linear) -> Singles:
    """The map with SAME padding's zeros."""
    widths = [layer.geometry.padding(axis, values.shape[axis + 1], layer.kernel[axis]) for axis in (0, 1)]
    return np.pad(values, [(0, 0), *widths, (0, 0)]) if any(map(sum, widths)) else values
