"""Rounding weights to the grid scale * code, in a way that TFLiteConverter's own quantizer finds again exactly.

The converter takes scale = max|w| / 127 and rounds to nearest. Weights that lie on the grid and hold a code of +-127
under every scale get that same scale and those same codes from it. So the largest weight of each scale, the *anchor*,
always gets the code +-127.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tflite_ptq.quantize.weights.ranges import LARGEST_CODE, Floats, along, codes_of

_DAMPING = 0.01
_BLOCK = 128


def nearest(weights: Floats, scales: Floats, axis: int | None) -> Floats:
    """scale * clip(round(w / scale), -127, 127), ``scales`` along ``axis`` or (1,) for the tensor; same shape.

    Where 127 * scale <= max|w|, as ``scales_for`` guarantees, the largest weight's code is +-127.
    """
    per_weight = along(scales, weights.ndim, axis)
    return per_weight * codes_of(weights, per_weight)


def output_error(delta: Floats, hessian: Floats) -> Floats:
    """sum over inputs x of (delta . x)^2 for each row, delta H delta^T; (G, R, K) and (G, K, K) to (G, R)."""
    return np.asarray(((delta @ hessian) * delta).sum(axis=2))


def compensated(
    weights: Floats, hessian: Floats, scales: Floats, *, per_tensor: bool = False, by_diagonal: bool = True
) -> Floats:
    """Rounds one input after the other and moves each rounding error to the inputs still ahead; grid values (G, R, K).

    GPTQ: Frantar et al. 2022, arXiv 2210.17323, algorithm 1. With Hinv = (H + 1 % of mean(diag H))^-1 = U^T U, U upper
    triangular, and q the grid value of column j:

        e = (w[j] - q[j]) / U[j, j]        w[k] -= e * U[j, k]   for k > j

    which minimises, for the rows dW = W - Q, the output error sum_x (dW x)^2 = dW H dW^T. Columns go in the order of
    falling H[j, j] where ``by_diagonal`` (of each group's own). All rows (output channels) and groups at once.

    ``weights``: (G, R, K): groups, output channels of a group, inputs of an output channel; ``hessian``: (G, K, K),
    sum of x x^T; ``scales``: (G, R), all equal where ``per_tensor``. The anchor (the row's largest weight, or the
    tensor's) keeps the code +-127 and what that costs is compensated like any rounding error. A row whose
    ``output_error`` comes out no lower than by rounding to nearest is rounded to nearest, so no row gets worse.
    """
    damped = _damped(hessian)
    if by_diagonal:
        order = np.argsort(-np.diagonal(hessian, axis1=1, axis2=2), axis=1, kind="stable")
    else:
        order = np.broadcast_to(np.arange(weights.shape[2]), (weights.shape[0], weights.shape[2]))
    damped = np.take_along_axis(np.take_along_axis(damped, order[:, :, None], 1), order[:, None, :], 2)
    upper = np.swapaxes(np.linalg.cholesky(np.linalg.inv(damped)), 1, 2)
    ordered = np.take_along_axis(weights, order[:, None, :], 2)
    rounded = _in_order(ordered, upper, scales, _anchors(ordered, per_tensor))
    back = np.empty_like(rounded)
    np.put_along_axis(back, order[:, None, :], rounded, 2)
    plain = scales[:, :, None] * codes_of(weights, scales[:, :, None])
    better = output_error(weights - back, hessian) < output_error(weights - plain, hessian)
    return np.where(better[:, :, None], back, plain)


def _in_order(weights: Floats, upper: Floats, scales: Floats, anchors: NDArray[np.bool_]) -> Floats:
    """The loop over columns; updates beyond a block of columns are made at once (the paper's lazy batch updates)."""
    left, rounded = weights.copy(), np.empty_like(weights)
    extreme = np.sign(weights) * LARGEST_CODE
    columns = weights.shape[2]
    for start in range(0, columns, _BLOCK):
        end = min(start + _BLOCK, columns)
        errors = np.empty((*weights.shape[:2], end - start))
        for j in range(start, end):
            codes = np.where(anchors[:, :, j], extreme[:, :, j], codes_of(left[:, :, j], scales))
            rounded[:, :, j] = scales * codes
            error = (left[:, :, j] - rounded[:, :, j]) / upper[:, None, j, j]
            left[:, :, j:end] -= error[:, :, None] * upper[:, None, j, j:end]
            errors[:, :, j - start] = error
        left[:, :, end:] -= errors @ upper[:, start:end, end:]
    return rounded


def _anchors(weights: Floats, per_tensor: bool) -> NDArray[np.bool_]:
    """True at the largest weight of each row, or of the tensor alone."""
    found = np.zeros(weights.shape, np.bool_)
    if per_tensor:
        found.reshape(-1)[np.abs(weights).argmax()] = True
    else:
        np.put_along_axis(found, np.abs(weights).argmax(axis=2, keepdims=True), True, 2)
    return found


def _damped(hessian: Floats) -> Floats:
    """H + 1 % of its mean diagonal on the diagonal; an input that was always 0 gets 1, so that it moves nothing."""
    damped = hessian.copy()
    diagonal = np.einsum("gkk->gk", damped)
    diagonal += _DAMPING * diagonal.mean(axis=1, keepdims=True)
    diagonal[diagonal.max(axis=1) <= 0] = 1.0
    return damped
