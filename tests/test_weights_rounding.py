"""Weight ranges and rounding: grids by hand, the converter's rule, GPTQ against the paper's update formula."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from tflite_ptq.quantize.weights.ranges import Floats, WeightRange, scales_for
from tflite_ptq.quantize.weights.rounding import compensated, nearest, output_error


@pytest.mark.parametrize(
    ("weights", "axis", "expected"),
    [
        ([[1.27, -0.5], [0.0, -2.54]], 0, [0.01, 0.02]),
        ([[1.27, -0.5], [0.0, -2.54]], 1, [0.01, 0.02]),
        ([[1.27, -0.5], [0.0, -2.54]], None, [0.02]),
        ([[0.0, 0.0], [0.0, 1.27]], 0, [0.0, 0.01]),
    ],
)
def test_the_range_max_by_hand(weights: list[list[float]], axis: int | None, expected: list[float]) -> None:
    assert scales_for(np.array(weights), axis, "max") == pytest.approx(expected)


def test_the_range_mse_clips_one_outlier_and_nothing_that_is_exact() -> None:
    generator = np.random.default_rng(0)
    bulk = generator.normal(size=4000)
    outlier = np.append(bulk, 8.0)
    exact = np.append(np.arange(-127.0, 128.0), np.zeros(3746))
    found = scales_for(np.stack([outlier, exact]), 0, "mse")
    assert found[0] < 7.9 / 127  # the grid is worth more to 4,000 weights than the end is to one
    assert found[1] == 1.0
    by_hand = min(
        (float(np.square(outlier - s * np.clip(np.round(outlier / s), -127, 127)).sum()), s)
        for s in 8.0 / 127 * np.linspace(1.0, 0.5, 80)
    )
    assert found[0] == pytest.approx(by_hand[1])


def converted(weights: Floats) -> tuple[float, NDArray[np.float64]]:
    """TFLiteConverter's rule for one channel of float32 weights: scale = max|w| / 127, round to nearest."""
    single = weights.astype(np.float32).astype(np.float64)
    scale = float(np.abs(single).max()) / 127
    return scale, np.floor(single / scale + 0.5)


def problem(seed: int, groups: int, rows: int, inputs: int) -> tuple[Floats, Floats]:
    generator = np.random.default_rng(seed)
    x = generator.normal(size=(groups, 3 * inputs + 5, inputs)) @ generator.normal(size=(groups, inputs, inputs))
    return generator.normal(size=(groups, rows, inputs)), np.swapaxes(x, 1, 2) @ x


sizes = {"groups": st.integers(1, 3), "rows": st.integers(1, 4), "inputs": st.integers(1, 12)}


@given(
    seed=st.integers(0, 10_000),
    **sizes,
    method=st.sampled_from(["max", "mse"]),
    per_tensor=st.booleans(),
    compensate=st.booleans(),
)
@settings(max_examples=80, deadline=None)
def test_the_converter_finds_the_same_scale_and_the_same_codes(
    seed: int, groups: int, rows: int, inputs: int, method: WeightRange, per_tensor: bool, compensate: bool
) -> None:
    weights, hessian = problem(seed, groups, rows, inputs)
    flat = weights.reshape(groups * rows, inputs)
    axis = None if per_tensor else 0
    scales = scales_for(flat, axis, method)
    if compensate:
        per_row = np.broadcast_to(scales, (groups * rows,)).reshape(groups, rows)
        rounded = compensated(weights, hessian, per_row, per_tensor=per_tensor).reshape(flat.shape)
    else:
        rounded = nearest(flat, scales, axis)
    channels = [rounded.reshape(-1)] if per_tensor else list(rounded)
    for channel, scale in zip(channels, scales, strict=True):
        codes = channel / scale
        assert np.abs(codes - np.rint(codes)).max() < 1e-6
        assert np.abs(np.rint(codes)).max() == 127
        again, found = converted(channel)
        assert again == pytest.approx(scale, rel=1e-6)
        assert np.array_equal(found, np.rint(codes))


@given(seed=st.integers(0, 10_000), **sizes)
@settings(max_examples=60, deadline=None)
def test_compensation_never_costs_a_row_anything(seed: int, groups: int, rows: int, inputs: int) -> None:
    weights, hessian = problem(seed, groups, rows, inputs)
    scales = np.abs(weights).max(axis=2) / 127
    plain = scales[:, :, None] * np.clip(np.rint(weights / scales[:, :, None]), -127, 127)
    rounded = compensated(weights, hessian, scales)
    assert (output_error(weights - rounded, hessian) <= output_error(weights - plain, hessian) * (1 + 1e-12)).all()


def by_the_papers_updates(row: Floats, hessian: Floats, scale: float, order: list[int]) -> Floats:
    """Equations 2 and 3 of arXiv 2210.17323 as they stand: quantize, spread, take the column out of H^-1."""
    w, left = row.copy(), list(order)
    anchor = int(np.abs(row).argmax())
    inverse = np.linalg.inv(hessian + 0.01 * np.diag(hessian).mean() * np.eye(len(row)))
    for q in order:
        code = np.clip(np.round(w[q] / scale), -127, 127) if q != anchor else 127 * np.sign(row[q])
        error = (w[q] - scale * code) / inverse[q, q]
        left.remove(q)
        for other in left:
            w[other] -= error * inverse[q, other]
        w[q] = scale * code
        inverse = inverse - np.outer(inverse[:, q], inverse[q, :]) / inverse[q, q]
    return w


@pytest.mark.parametrize("inputs", [1, 2, 9, 150])  # 150: more than one block of columns
@pytest.mark.parametrize("by_diagonal", [False, True])
def test_compensation_is_the_papers(inputs: int, by_diagonal: bool) -> None:
    weights, hessian = problem(7, 1, 3, inputs)
    scales = np.abs(weights).max(axis=2) / 15  # coarse, so that nearest never wins by chance
    scales = np.maximum(scales, np.abs(weights).max(axis=2) / 127)
    rounded = compensated(weights, hessian, scales, by_diagonal=by_diagonal)
    order = np.argsort(-np.diag(hessian[0]), kind="stable").tolist() if by_diagonal else list(range(inputs))
    for row, scale, found in zip(weights[0], scales[0], rounded[0], strict=True):
        paper = by_the_papers_updates(row, hessian[0], float(scale), order)
        plain = scale * np.clip(np.rint(row / scale), -127, 127)
        cheaper = min((paper, plain), key=lambda w: float((row - w) @ hessian[0] @ (row - w)))
        assert found == pytest.approx(cheaper, abs=1e-9)


def test_independent_inputs_are_rounded_to_nearest() -> None:
    weights, _ = problem(3, 2, 3, 6)
    scales = np.abs(weights).max(axis=2) / 127
    hessian = np.stack([np.eye(6), np.diag([4.0, 1, 0, 9, 2, 3])])
    expected = scales[:, :, None] * np.rint(weights / scales[:, :, None])
    assert compensated(weights, hessian, scales) == pytest.approx(expected)


@pytest.mark.parametrize("hessian", [np.zeros((1, 4, 4)), np.ones((1, 4, 4))], ids=["never seen", "all inputs equal"])
def test_singular_hessians_are_survived(hessian: Floats) -> None:
    weights, _ = problem(5, 1, 2, 4)
    weights[0, 1] = 0.0
    scales = np.abs(weights).max(axis=2) / 127
    rounded = compensated(weights, hessian, scales)
    assert np.isfinite(rounded).all()
    assert (rounded[0, 1] == 0).all()
    assert (output_error(weights - rounded, hessian) < 1e-3).all()
