"""Input vectors of a layer against LiteRT's own convolutions, and their moments against plain sums."""

from pathlib import Path

import numpy as np
import pytest
from float_chain import RELU, SAME, VALID, Chain, Conv, Dense, run
from numpy.typing import NDArray

from tflite_ptq.quantize.weights.hessian import gather, patches, spread, why_no_hessian
from tflite_ptq.quantize.weights.linear import find, from_rows, to_rows

rng = np.random.default_rng(0)


def normal(*shape: int) -> NDArray[np.float32]:
    return rng.normal(size=shape).astype(np.float32)


LAYERS = {
    "1x1": ((1, 5, 4, 3), Conv(normal(6, 1, 1, 3), None, (1, 5, 4, 6))),
    "3x3 same": ((1, 5, 4, 3), Conv(normal(6, 3, 3, 3), None, (1, 5, 4, 6), padding=SAME)),
    "3x2 same, stride 2": ((1, 6, 7, 3), Conv(normal(5, 3, 2, 3), None, (1, 3, 4, 5), padding=SAME, stride=(2, 2))),
    "3x3 valid, dilated": ((1, 9, 8, 2), Conv(normal(4, 3, 3, 2), None, (1, 5, 4, 4), dilation=(2, 2))),
    "3x3 same, dilated": ((1, 7, 8, 2), Conv(normal(4, 3, 3, 2), None, (1, 7, 8, 4), padding=SAME, dilation=(2, 3))),
    "10x4 same, stride 2": ((1, 9, 6, 1), Conv(normal(4, 10, 4, 1), None, (1, 5, 3, 4), padding=SAME, stride=(2, 2))),
    "batch": ((3, 4, 4, 2), Conv(normal(2, 2, 2, 2), None, (3, 3, 3, 2), padding=VALID)),
    "grouped": ((1, 4, 4, 6), Conv(normal(4, 3, 3, 3), None, (1, 4, 4, 4), padding=SAME)),
    "depthwise": ((1, 5, 5, 4), Conv(normal(1, 3, 3, 4), None, (1, 5, 5, 4), padding=SAME, multiplier=1)),
    "depthwise, multiplier 2": (
        (1, 6, 5, 3),
        Conv(normal(1, 3, 2, 6), None, (1, 3, 3, 6), padding=SAME, stride=(2, 2), multiplier=2),
    ),
    "dense": ((2, 7), Dense(normal(3, 7), None, (2, 3))),
    "dense of a map": ((1, 2, 3, 4), Dense(normal(5, 24), None, (1, 5))),
}


@pytest.mark.parametrize("name", LAYERS)
def test_rows_times_patches_is_the_layer(tmp_path: Path, name: str) -> None:
    shape, layer = LAYERS[name]
    model = Chain(shape, [layer]).build(tmp_path)
    (linear,), left = find(model)
    assert left == ()
    x = normal(*shape)
    rows = to_rows(model.constant(linear.weights).astype(np.float64), linear.kind, linear.groups)
    outputs = patches(linear, x) @ np.swapaxes(rows, 1, 2)  # (G, positions, R)
    expected = run(model, x)
    found = np.moveaxis(outputs, 0, 1).reshape(expected.shape)
    assert found == pytest.approx(expected, abs=1e-4)
    assert np.array_equal(from_rows(rows, linear.kind, layer.weights.shape), layer.weights)


@pytest.mark.parametrize("name", LAYERS)
def test_moments_are_sums_over_all_patches(tmp_path: Path, name: str) -> None:
    shape, layer = LAYERS[name]
    model = Chain(shape, [layer]).build(tmp_path)
    (linear,), _ = find(model)
    samples = [[normal(*shape) + 0.5] for _ in range(7)]
    moments = gather(model, [linear], samples)[linear.name]
    x = np.concatenate([patches(linear, sample[0]) for sample in samples], axis=1).astype(np.float64)
    assert moments.rows == x.shape[1]
    assert moments.hessian(centred=False) == pytest.approx(np.einsum("gpk,gpl->gkl", x, x), rel=1e-4, abs=1e-3)
    centred = x - x.mean(axis=1, keepdims=True)
    expected = np.einsum("gpk,gpl->gkl", centred, centred)
    assert moments.hessian(centred=True) == pytest.approx(expected, rel=1e-4, abs=1e-3)


def test_inner_layers_see_their_own_inputs(tmp_path: Path) -> None:
    first, second = normal(3, 4), normal(2, 3)
    model = Chain((1, 4), [Dense(first, None, (1, 3), RELU), Dense(second, None, (1, 2))]).build(tmp_path)
    layers, _ = find(model)
    samples = [[normal(1, 4)] for _ in range(20)]
    inner = np.stack([np.maximum(first @ sample[0][0], 0) for sample in samples])
    assert gather(model, layers, samples)["t1"].second[0] == pytest.approx(inner.T @ inner, rel=1e-4)


@pytest.mark.parametrize(("total", "wanted"), [(10, 3), (1000, 7), (5, 5), (5, 50)])
def test_positions_are_distinct_inside_and_all_met_in_the_end(total: int, wanted: int) -> None:
    turns = [spread(total, wanted, turn) for turn in range(4 * total)]
    for positions in turns:
        assert len(set(positions.tolist())) == min(total, wanted)
        assert positions.min() >= 0
        assert positions.max() < total
    assert set(np.concatenate(turns).tolist()) == set(range(total))


def test_a_large_map_is_sampled(tmp_path: Path) -> None:
    layer = Conv(normal(2, 1, 1, 2), None, (1, 200, 100, 2))
    model = Chain((1, 200, 100, 2), [layer]).build(tmp_path)
    layers, _ = find(model)
    moments = gather(model, layers, [[np.ones((1, 200, 100, 2), np.float32)]] * 4)["t0"]
    assert moments.rows == 8192  # max(8192, 16 * 2)
    assert moments.second[0] == pytest.approx(np.full((2, 2), 8192.0))


def test_a_layer_too_wide_says_so(tmp_path: Path) -> None:
    model = Chain((1, 5000), [Dense(normal(1, 5000), None, (1, 1))]).build(tmp_path)
    (layer,), _ = find(model)
    assert why_no_hessian(layer) == ("an output channel has 5000 inputs; error-compensated rounding stops at 4096")
