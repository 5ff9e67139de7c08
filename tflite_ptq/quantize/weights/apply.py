"""Writing better rounded weights into a float model, for TFLiteConverter's quantizer to take over unchanged.

The weights become float values on the integer grid, so the model is no longer the float yardstick: calibrate and
compare against the original, and correct biases with the original's weights, which hold the whole rounding error.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from tflite_ptq.model.editing import Editable
from tflite_ptq.model.open_shapes import learn_shapes
from tflite_ptq.quantize.weights.hessian import Array, gather, passes, why_no_hessian
from tflite_ptq.quantize.weights.linear import Linear, find, from_rows, to_rows
from tflite_ptq.quantize.weights.ranges import Floats, WeightRange, scales_for
from tflite_ptq.quantize.weights.rounding import compensated, nearest, output_error

Rounding = Literal["nearest", "compensated"]


@dataclass(frozen=True)
class LayerChange:
    """What was done to a layer's weights. ``reason``: why the layer, or the part not done, was left alone.

    ``rounding``, ``weight_range``: what the weights now hold; ``None`` where the layer was left alone. ``gain_db``: by
    how much the expected squared error of the layer's output fell against rounding to nearest within max|w|, on
    calibration data and with the bias corrected where the caller said it will be; ``None`` where it was not measured.
    """

    name: str
    kind: str
    rounding: Rounding | None
    weight_range: WeightRange | None
    gain_db: float | None
    reason: str | None


def prepare_weights(
    model: Editable,
    samples: Sequence[Sequence[Array]],
    *,
    rounding: Rounding,
    weight_range: WeightRange,
    per_channel: bool = True,
    per_channel_dense: bool = True,
    bias_corrected: bool = True,
    float_layers: Collection[str] = (),
) -> tuple[LayerChange, ...]:
    """Puts the float weights of ``model`` on the grid that TFLiteConverter will find, in place; what was done to each.

    ``samples``: per sample the model's inputs in its dtypes and shapes; only ``compensated`` runs them.
    ``per_channel``, ``per_channel_dense``: whether the quantizer gives each output channel its own scale, and whether
    FULLY_CONNECTED layers too; as told to it. ``bias_corrected``: whether a bias correction follows, so that a mean
    error costs nothing. ``float_layers``: names of layers that the quantizer was told to leave in float. Raises
    ``ValueError`` where compensation has no samples, ``MeasurementError`` where LiteRT fails.
    """
    if rounding == "compensated" and not samples:
        raise ValueError("error-compensated rounding needs calibration samples")
    if samples:
        learn_shapes(model, samples[0])
    layers, left = find(model)
    excluded = [layer for layer in layers if layer.name in float_layers]
    layers = tuple(layer for layer in layers if layer.name not in float_layers)
    order = {model.name(node.outputs[0]): node.position for node in model.nodes() if node.outputs}
    changes = [LayerChange(layer.name, layer.kind, None, None, None, layer.reason) for layer in left]
    changes += [LayerChange(one.name, one.kind, None, None, None, "it stays in float") for one in excluded]

    def change(layer: Linear, hessian: Floats | None) -> LayerChange:
        whole = not per_channel or (layer.kind == "FULLY_CONNECTED" and not per_channel_dense)
        return _change(model, layer, None if whole else layer.axis, weight_range, rounding, hessian)

    followed = [layer for layer in layers if rounding == "compensated" and why_no_hessian(layer) is None]
    unchanged = model.copy()
    for part in passes(followed):
        moments = gather(unchanged, part, samples)
        changes += [change(layer, moments[layer.name].hessian(centred=bias_corrected)) for layer in part]
    changes += [change(layer, None) for layer in layers if layer not in followed]
    return tuple(sorted(changes, key=lambda change: order[change.name]))


def _change(
    model: Editable, layer: Linear, axis: int | None, weight_range: WeightRange, rounding: Rounding, h: Floats | None
) -> LayerChange:
    reason = why_no_hessian(layer) if rounding == "compensated" else None
    if h is not None and not np.isfinite(h).all():
        h, reason = None, "its inputs hold NaN or infinity on calibration data"
    weights = model.constant(layer.weights).astype(np.float64)
    scales = scales_for(weights, axis, weight_range)
    rows = to_rows(weights, layer.kind, layer.groups)
    per_row = np.broadcast_to(scales, (rows.shape[0] * rows.shape[1],)).reshape(rows.shape[:2])
    rounded: Floats | None = None
    if h is not None:
        try:
            rounded = compensated(rows, h, per_row, per_tensor=axis is None)
        except np.linalg.LinAlgError:  # squares of inputs around 1e-22 are no normal float32 numbers
            reason = "its inputs are too small to weigh"
    if h is None or rounded is None:
        _write(model, layer, nearest(weights, scales, axis))
        return LayerChange(layer.name, layer.kind, "nearest", weight_range, None, reason)
    _write(model, layer, from_rows(rounded, layer.kind, weights.shape))
    plain = to_rows(nearest(weights, scales_for(weights, axis, "max"), axis), layer.kind, layer.groups)
    before, after = output_error(rows - plain, h).sum(), output_error(rows - rounded, h).sum()
    gain = float(10 * np.log10(before / after)) if before > 0 and after > 0 else None
    return LayerChange(layer.name, layer.kind, "compensated", weight_range, gain, reason)


def _write(model: Editable, layer: Linear, weights: Floats) -> None:
    model.set_constant(layer.weights, weights.astype(np.float32))
