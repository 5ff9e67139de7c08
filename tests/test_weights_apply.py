"""Prepared weights in a whole model: what is written, what is left alone, and TFLiteConverter's own codes."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from float_chain import RELU, SAME, Chain, Conv, Dense, run
from numpy.typing import NDArray

from tflite_ptq.model.editing import Editable
from tflite_ptq.quantize.weights import hessian
from tflite_ptq.quantize.weights.apply import Rounding, prepare_weights
from tflite_ptq.quantize.weights.ranges import WeightRange, scales_for

rng = np.random.default_rng(0)


def normal(*shape: int) -> NDArray[np.float32]:
    return rng.normal(size=shape).astype(np.float32)


def network(folder: Path) -> Editable:
    return Chain(
        (1, 8, 8, 3),
        [
            Conv(normal(8, 3, 3, 3), normal(8), (1, 8, 8, 8), RELU, SAME),
            Conv(normal(1, 3, 3, 8), normal(8), (1, 4, 4, 8), RELU, SAME, (2, 2), multiplier=1),
            Conv(normal(6, 1, 1, 8), normal(6), (1, 4, 4, 6), RELU),
            Dense(normal(5, 96), normal(5), (1, 5)),
        ],
    ).build(folder)


def inputs(count: int) -> list[list[NDArray[np.float32]]]:
    mixing = np.array([[1, 0.9, 0.8], [0, 0.3, 0.1], [0, 0, 0.2]], np.float32)
    return [[normal(1, 8, 8, 3) @ mixing + np.float32(0.3)] for _ in range(count)]


@pytest.mark.parametrize("per_channel", [True, False])
@pytest.mark.parametrize("weight_range", ["max", "mse"])
def test_compensation_lowers_each_layers_error_and_the_models(
    tmp_path: Path, per_channel: bool, weight_range: WeightRange
) -> None:
    model = network(tmp_path)
    data = model.to_bytes()
    calibration, others = inputs(40), inputs(40)
    errors = {}
    for rounding in ("nearest", "compensated"):
        changed = Editable(data)
        done = prepare_weights(
            changed,
            calibration,
            rounding=rounding,  # type: ignore[arg-type]
            weight_range=weight_range,
            per_channel=per_channel,
            bias_corrected=False,
        )
        assert [change.name for change in done] == ["t0", "t1", "t2", "t3"]
        assert {(change.rounding, change.weight_range, change.reason) for change in done} == {
            (rounding, weight_range, None)
        }
        assert all((change.gain_db is None) == (rounding == "nearest") for change in done)
        if rounding == "compensated" and weight_range == "max":
            assert all(change.gain_db is not None and change.gain_db >= 0 for change in done)
        errors[rounding] = sum(float(np.square(run(changed, x[0]) - run(model, x[0])).sum()) for x in others)
    assert errors["compensated"] < errors["nearest"]


def test_layers_left_alone_are_named(tmp_path: Path) -> None:
    weights = normal(4, 4)
    spoiled = weights.copy()
    spoiled[0, 0] = np.nan
    chain = Chain(
        (1, 4),
        [Dense(w, None, (1, 4)) for w in (weights, weights, normal(4, 4), spoiled, normal(4, 4))],
        share_weights={},
    )
    model = chain.build(tmp_path)
    done = prepare_weights(model, [], rounding="nearest", weight_range="max", float_layers={"t4"})
    assert [(change.name, change.reason) for change in done] == [
        ("t0", "it shares its weights"),
        ("t1", "it shares its weights"),
        ("t2", None),
        ("t3", "its weights hold NaN or infinity"),
        ("t4", "it stays in float"),
    ]
    assert np.array_equal(model.constant(model.named()["w0"]), weights)


def test_inputs_with_nan_fall_back_to_nearest(tmp_path: Path) -> None:
    model = Chain((1, 4), [Dense(normal(3, 4), None, (1, 3))]).build(tmp_path)
    bad = np.full((1, 4), np.nan, np.float32)
    (change,) = prepare_weights(model, [[bad]], rounding="compensated", weight_range="max")
    assert (change.rounding, change.reason) == ("nearest", "its inputs hold NaN or infinity on calibration data")


def test_inputs_too_small_to_weigh_fall_back_to_nearest(tmp_path: Path) -> None:
    """The squares of 1e-22 are below float32's normal numbers: what is left of them has no inverse, or an idle one."""
    model = Chain((1, 64), [Dense(normal(4, 64), None, (1, 4))]).build(tmp_path)
    weights = model.constant(model.nodes()[0].inputs[1])
    tiny = [[normal(1, 64) * np.float32(1e-22)] for _ in range(20)]
    (change,) = prepare_weights(model, tiny, rounding="compensated", weight_range="max")
    assert change.rounding in ("nearest", "compensated")
    scales = np.abs(weights).max(axis=1, keepdims=True) / 127
    codes = model.constant(model.nodes()[0].inputs[1]) / scales
    np.testing.assert_allclose(codes, np.rint(codes), atol=1e-3)


def test_layers_taken_in_many_passes_are_rounded_alike(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a pass finds is of the float model, not of the layers that the pass before has rounded."""
    samples, one = inputs(12), network(tmp_path)
    many = one.copy()
    at_once = prepare_weights(one, samples, rounding="compensated", weight_range="max")
    monkeypatch.setattr(hessian, "_MOST_BYTES", 1)
    assert prepare_weights(many, samples, rounding="compensated", weight_range="max") == at_once
    assert one.to_bytes() == many.to_bytes()


def test_compensation_without_samples_is_refused(tmp_path: Path) -> None:
    model = Chain((1, 4), [Dense(normal(3, 4), None, (1, 3))]).build(tmp_path)
    with pytest.raises(ValueError, match="needs calibration samples"):
        prepare_weights(model, [], rounding="compensated", weight_range="max")


def ranges(model: Editable, samples: list[list[NDArray[np.float32]]]) -> dict[int, tuple[float, float]]:
    from tflite_ptq.model.tap import watching

    watched = model.activations()
    tap = watching(model, watched)
    low, high = np.zeros(len(watched)), np.zeros(len(watched))
    for sample in samples:
        tap.run(sample)
        for slot in range(len(watched)):
            low[slot] = min(low[slot], tap.view(slot).min())
            high[slot] = max(high[slot], tap.view(slot).max())
    return {tensor: (float(low[i]), float(high[i])) for i, tensor in enumerate(watched)}


@pytest.mark.slow
@pytest.mark.parametrize("rounding", ["nearest", "compensated"])
@pytest.mark.parametrize("weight_range", ["max", "mse"])
@pytest.mark.parametrize(("per_channel", "per_channel_dense"), [(True, True), (True, False), (False, False)])
def test_tensorflow_finds_the_same_scales_and_codes(
    tmp_path: Path, rounding: Rounding, weight_range: WeightRange, per_channel: bool, per_channel_dense: bool
) -> None:
    convert: Any = pytest.importorskip("tensorflow.lite.python.convert")
    import tensorflow as tf

    model, samples = network(tmp_path), inputs(20)
    original = {name: model.constant(model.named()[name]).astype(np.float64) for name in ("w0", "w1", "w2", "w3")}
    prepare_weights(
        model,
        samples,
        rounding=rounding,
        weight_range=weight_range,
        per_channel=per_channel,
        per_channel_dense=per_channel_dense,
    )
    quantized = Editable(
        convert.mlir_quantize(
            model.with_ranges(ranges(model, samples)),
            input_data_type=tf.int8,
            output_data_type=tf.int8,
            disable_per_channel=not per_channel,
            disable_per_channel_for_dense_layers=not per_channel_dense,
        )
    )
    layers = [node for node in quantized.nodes() if node.name.endswith(("CONV_2D", "FULLY_CONNECTED"))]
    assert len(layers) == 4
    for node, name in zip(layers, original, strict=True):
        dense = node.name == "FULLY_CONNECTED"
        axis = (
            (3 if node.name == "DEPTHWISE_CONV_2D" else 0) if per_channel and (per_channel_dense or not dense) else None
        )
        expected = scales_for(original[name], axis, weight_range)
        affine = quantized.affine(node.inputs[1])
        assert affine is not None
        assert affine.scale == pytest.approx(expected, rel=1e-6)
        shape = [1] * original[name].ndim
        if axis is not None:
            shape[axis] = -1
        written = model.constant(model.named()[name]).astype(np.float64) / expected.reshape(shape)
        assert np.array_equal(quantized.constant(node.inputs[1]), np.rint(written).astype(np.int8))
        if rounding == "nearest":
            by_hand = np.clip(np.rint(original[name] / expected.reshape(shape)), -127, 127)
            assert np.array_equal(np.rint(written), by_hand)
