"""What TensorFlow's quantizer for 16-bit activations, which changes constants in place, makes of constants shared."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from float_chain import RELU, Chain, Dense
from numpy.typing import NDArray
from tiny_tflite import File, Graph, Op, T

from tflite_ptq.model.editing import Editable
from tflite_ptq.quantize.integer import quantize
from tflite_ptq.recipe.schema import Variant

Array = NDArray[Any]
BIAS = np.array([0.5, -0.25, 0.125, 1], np.float32)
WIDE = Variant(scheme="int16x8")


def shared_bias(folder: Path, values: Array = BIAS) -> Editable:
    """Two dense layers, the second's input ten times as wide, of one bias."""
    first, second = (np.random.default_rng(i).normal(size=(4, 4)).astype(np.float32) for i in (0, 1))
    tensors = [
        T("x", shape=(1, 4)),
        T("w1", shape=(4, 4), data=first.tobytes()),
        T("w2", shape=(4, 4), data=second.tobytes()),
        T("b", shape=(4,), data=values.tobytes()),
        T("y", shape=(1, 4)),
        T("z", shape=(1, 4)),
    ]
    ops = [Op("FULLY_CONNECTED", ["x", "w1", "b"], ["y"]), Op("FULLY_CONNECTED", ["y", "w2", "b"], ["z"])]
    return Editable(File([Graph(tensors, ["x"], ["z"], ops)]).write(folder / "m.tflite").read_bytes())


def ranged(model: Editable, *limits: float) -> bytes:
    return model.with_ranges({i: (-limit, limit) for i, limit in zip(model.activations(), limits, strict=True)})


def test_each_layer_has_its_bias_in_its_own_scale(tmp_path: Path) -> None:
    made = Editable(quantize(ranged(shared_bias(tmp_path), 1, 10, 40), WIDE))
    layers = [node for node in made.nodes() if node.name == "FULLY_CONNECTED"]
    assert len(layers) == 2
    for node in layers:
        fed, weights, bias = (made.affine(i) for i in node.inputs)
        assert fed is not None and weights is not None and bias is not None
        np.testing.assert_allclose(bias.scale, fed.scale * weights.scale, rtol=1e-6)
        np.testing.assert_allclose(made.constant(node.inputs[2]) * bias.scale, BIAS, atol=bias.scale.max())


def test_a_bias_of_zeros_stays_shared(tmp_path: Path) -> None:
    """It is zero in every scale, and the file TensorFlow's own."""
    data = shared_bias(tmp_path, np.zeros(4, np.float32)).to_bytes()
    assert Editable(data).separating() is data


def test_a_zero_of_two_types_stays_one_of_either(tmp_path: Path) -> None:
    """A file stores equal bytes once: the int32 zero was cut to the two bytes of the int16 one."""
    zero = bytes(4)
    tensors = [
        T("x", shape=(1, 4)),
        T("axis", "INT32", (1,), zero),
        T("nothing", shape=(1,), data=zero, share="axis"),
        T("sum", shape=(1, 4)),
        T("y", shape=(4,)),
    ]
    ops = [Op("ADD", ["x", "nothing"], ["sum"]), Op("SUM", ["sum", "axis"], ["y"])]
    model = Editable(File([Graph(tensors, ["x"], ["y"], ops)]).write(tmp_path / "m.tflite").read_bytes())
    made = Editable(quantize(ranged(model, 1, 1, 4), WIDE))
    (axis,) = (node.inputs[1] for node in made.nodes() if node.name == "SUM")
    (added,) = (node.inputs[1] for node in made.nodes() if node.name == "ADD")
    np.testing.assert_array_equal(made.constant(axis), [0])
    np.testing.assert_array_equal(made.constant(added), [0])
    assert (made.dtype(axis), made.dtype(added)) == ("int32", "int16")


def test_what_is_not_shared_is_left_as_it_is(tmp_path: Path) -> None:
    model = Chain((1, 4), [Dense(np.eye(4, dtype=np.float32), BIAS, (1, 4))]).build(tmp_path)
    data = model.to_bytes()
    assert Editable(data).separating() is data


@pytest.mark.parametrize("limit", [0.0, 2.0])
def test_an_activation_that_is_always_zero_has_a_scale(limit: float, tmp_path: Path) -> None:
    """LiteRT's kernels abort the process on a scale of 0."""
    eye, none = np.eye(4, dtype=np.float32), np.zeros(4, np.float32)
    model = Chain((1, 4), [Dense(eye, none, (1, 4), RELU), Dense(eye, BIAS, (1, 4))]).build(tmp_path)
    made = Editable(quantize(ranged(model, 1, limit, 1), WIDE))
    (second,) = (node for node in made.nodes()[-2:] if node.name == "FULLY_CONNECTED" and node.position)
    fed = made.affine(second.inputs[0])
    assert fed is not None
    assert fed.scale[0] == pytest.approx((limit or 1) / 32767, rel=1e-3)
