"""Cross-layer equalization: the function stays, the ranges meet, and what cannot be balanced is named."""

import itertools
from pathlib import Path

import numpy as np
import pytest
from float_chain import NONE, RELU, RELU6, SAME, Chain, Conv, Dense, Plain, run
from numpy.typing import NDArray

from tflite_ptq.quantize.weights.equalization import balancing_scales, equalize

rng = np.random.default_rng(0)


def wild(*shape: int) -> NDArray[np.float32]:
    """Weights whose ranges differ a thousandfold from channel to channel, along every dimension."""
    value = rng.normal(size=shape)
    for axis, size in enumerate(shape):
        value *= np.exp(rng.uniform(-2.5, 2.5, size)).reshape([-1 if a == axis else 1 for a in range(len(shape))])
    return value.astype(np.float32)


def test_scales_by_hand() -> None:
    found = balancing_scales(np.array([4.0, 1.0, 0.0, 9.0]), np.array([1.0, 4.0, 2.0, 0.0]))
    assert found.tolist() == [2.0, 0.5, 1.0, 1.0]


def chains() -> dict[str, Chain]:
    return {
        "conv, conv": Chain(
            (1, 6, 6, 3),
            [
                Conv(wild(4, 3, 3, 3), wild(4), (1, 6, 6, 4), RELU, SAME),
                Conv(wild(5, 3, 3, 4), wild(5), (1, 6, 6, 5), NONE, SAME),
            ],
        ),
        "conv, depthwise, conv": Chain(
            (1, 6, 6, 3),
            [
                Conv(wild(4, 1, 1, 3), wild(4), (1, 6, 6, 4), RELU),
                Conv(wild(1, 3, 3, 8), wild(8), (1, 6, 6, 8), RELU, SAME, multiplier=2),
                Conv(wild(5, 1, 1, 8), None, (1, 6, 6, 5)),
            ],
        ),
        "dense, RELU, dense": Chain(
            (2, 6), [Dense(wild(8, 6), wild(8), (2, 8)), Plain("RELU"), Dense(wild(3, 8), wild(3), (2, 3))]
        ),
        "no bias, nothing between": Chain((1, 6), [Dense(wild(8, 6), None, (1, 8)), Dense(wild(3, 8), None, (1, 3))]),
    }


@pytest.mark.parametrize("name", chains())
def test_the_function_stays_and_the_ranges_meet(tmp_path: Path, name: str) -> None:
    chain = chains()[name]
    model = chain.build(tmp_path)
    inputs = [rng.normal(size=chain.shape).astype(np.float32) for _ in range(5)]
    before = [run(model, x) for x in inputs]
    done = equalize(model)
    linear = [i for i, layer in enumerate(chain.layers) if not isinstance(layer, Plain)]
    assert [(pair.first, pair.second) for pair in done.pairs] == [
        (f"t{a}", f"t{b}") for a, b in itertools.pairwise(linear)
    ]
    assert done.rounds is not None
    assert max(pair.largest_scale for pair in done.pairs) > 2
    for x, expected in zip(inputs, before, strict=True):
        assert np.abs(run(model, x) - expected).max() <= 1e-5 * np.abs(expected).max()
    for a, b in itertools.pairwise(linear):
        first, second = (model.constant(model.named()[f"w{i}"]).astype(np.float64) for i in (a, b))
        by_output = np.abs(first.reshape(-1, first.shape[-1])).max(axis=0) if first.shape[0] == 1 else None
        if by_output is None:
            by_output = np.abs(first).reshape(len(first), -1).max(axis=1)
        by_input = np.abs(second).reshape(-1, second.shape[-1]).max(axis=0)
        by_input = by_input.reshape(len(by_output), -1).max(axis=1)
        assert by_output == pytest.approx(by_input, rel=0.02)


def test_channels_without_weights_stay(tmp_path: Path) -> None:
    first, second = wild(3, 4), wild(2, 3)
    first[1] = 0
    second[:, 2] = 0
    model = Chain((1, 4), [Dense(first, wild(3), (1, 3), RELU), Dense(second, None, (1, 2))]).build(tmp_path)
    equalize(model)
    names = model.named()
    assert (model.constant(names["w1"])[:, 1] == second[:, 1]).all()
    assert (model.constant(names["w0"])[2] == first[2]).all()


def dense(activation: int = RELU, outputs: int = 4) -> Dense:
    return Dense(wild(outputs, 4), wild(outputs), (1, outputs), activation)


@pytest.mark.parametrize(
    ("chain", "reason"),
    [
        (Chain((1, 4), [dense(RELU6), dense()]), "its RELU6 does not scale with its input"),
        (Chain((1, 4), [dense(), dense()], outputs=["t0"]), "its output is an output of the model"),
        (Chain((1, 4), [dense(), Plain("LOGISTIC"), dense()]), "LOGISTIC follows, not a linear layer"),
        (Chain((1, 4), [dense(), dense()], share_weights={1: 0}), "it shares its weights"),
    ],
    ids=["relu6", "output", "sigmoid", "shared"],
)
def test_what_is_left_alone_says_why(tmp_path: Path, chain: Chain, reason: str) -> None:
    model = chain.build(tmp_path)
    before = [model.constant(model.named()[f"w{i}"]) for i in range(2) if f"w{i}" in model.named()]
    done = equalize(model)
    assert done.pairs == ()
    assert done.left_alone[0].reason == reason
    after = [model.constant(model.named()[f"w{i}"]) for i in range(2) if f"w{i}" in model.named()]
    assert all(np.array_equal(a, b) for a, b in zip(before, after, strict=True))
