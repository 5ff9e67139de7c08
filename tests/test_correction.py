"""Bias correction against arithmetic written out, LiteRT, and small models whose error is known."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import flatbuffers
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter, OpResolverType
from float_chain import RELU, RELU6, SAME, VALID, Chain, Conv, Dense, run
from int8_chain import Activation, accumulated, activation, layer_in_integers, quantized
from numpy.typing import NDArray
from tiny_tflite import File, Graph, Op, T, moving

from tflite_ptq.model.editing import Editable
from tflite_ptq.quantize.correction.bias import one_pass, sequential
from tflite_ptq.quantize.correction.closer import surely_closer
from tflite_ptq.quantize.correction.decide import Corrected, Method, Trial, correct
from tflite_ptq.quantize.correction.layers import Layer, match
from tflite_ptq.quantize.correction.response import Geometry, mean_response
from tflite_ptq.quantize.correction.samples import judged_tensors
from tflite_ptq.quantize.correction.yardstick import Yardstick, folds_of

Array = NDArray[Any]
RANDOM = np.random.default_rng(0)


def normal(*shape: int) -> NDArray[np.float32]:
    return RANDOM.normal(size=shape).astype(np.float32)


LAYERS: dict[str, tuple[tuple[int, ...], Conv | Dense]] = {
    "conv VALID": ((1, 6, 7, 3), Conv(normal(4, 3, 2, 3), normal(4), (1, 4, 6, 4))),
    "conv SAME stride": ((1, 6, 7, 3), Conv(normal(4, 3, 3, 3), normal(4), (1, 3, 4, 4), RELU6, SAME, (2, 2))),
    "conv SAME dilated": ((1, 8, 7, 2), Conv(normal(3, 3, 3, 2), normal(3), (1, 8, 7, 3), 0, SAME, (1, 1), (2, 3))),
    "conv VALID dilated": ((1, 9, 9, 2), Conv(normal(3, 3, 3, 2), normal(3), (1, 5, 3, 3), 0, VALID, (1, 1), (2, 3))),
    "conv even kernel": ((1, 5, 6, 2), Conv(normal(3, 2, 4, 2), normal(3), (1, 2, 3, 3), RELU, SAME, (3, 2))),
    "conv groups": ((1, 5, 5, 4), Conv(normal(6, 3, 3, 2), normal(6), (1, 5, 5, 6), 0, SAME)),
    "depthwise": ((1, 6, 6, 3), Conv(normal(1, 3, 3, 3), normal(3), (1, 6, 6, 3), RELU6, SAME, multiplier=1)),
    "depthwise x2": ((1, 7, 6, 3), Conv(normal(1, 3, 3, 6), normal(6), (1, 4, 3, 6), 0, SAME, (2, 2), multiplier=2)),
    "depthwise VALID": (
        (1, 7, 6, 2),
        Conv(normal(1, 2, 3, 2), normal(2), (1, 3, 2, 2), 0, VALID, (2, 2), multiplier=1),
    ),
    "dense": ((1, 12), Dense(normal(5, 12), normal(5), (1, 5))),
    "dense relu": ((1, 12), Dense(normal(5, 12), normal(5), (1, 5), RELU)),
}


def reference_kernels(model: Editable, x: Array) -> Array:
    interpreter = Interpreter(model_content=model.to_bytes(), experimental_op_resolver_type=OpResolverType.BUILTIN_REF)
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], x)
    interpreter.invoke()
    return np.array(interpreter.get_tensor(interpreter.get_output_details()[0]["index"]))


@pytest.mark.parametrize("name", [name for name in LAYERS if name != "conv groups"])
def test_integers_by_hand_are_those_of_litert(name: str, tmp_path: Path) -> None:
    """int32 sums, fixed-point rescaling, fused activations: what the correction reasons about is what runs."""
    shape, layer = LAYERS[name]
    ranges = [(-3.0, 3.5), (-20.0, 25.0)]
    model = quantized(Chain(shape, [layer]), ranges, tmp_path)
    fed, out = (activation(r, "int8") for r in ranges)
    for seed in range(5):
        x = np.random.default_rng(seed).integers(-128, 128, shape, np.int8)
        want = layer_in_integers(layer, x, fed, out)
        np.testing.assert_array_equal(reference_kernels(model, x), want)
        # XNNPACK rescales in float32: another result only where a sum lies on the edge between two steps.
        assert np.abs(run(model, x).astype(int) - want).max() <= 1


@pytest.mark.parametrize("name", LAYERS)
def test_mean_response_is_the_mean_of_all_outputs(name: str) -> None:
    shape, layer = LAYERS[name]
    maps = [np.random.default_rng(seed).normal(size=shape) for seed in range(3)]
    weights = layer.weights.astype(np.float64)
    every = np.concatenate([accumulated(layer, weights, x) for x in maps])
    geometry, kind = Geometry(), "FULLY_CONNECTED"
    if isinstance(layer, Conv):
        geometry = Geometry(layer.stride, layer.dilation, layer.padding == SAME, layer.output[1:3])
        kind = "CONV_2D" if layer.multiplier is None else "DEPTHWISE_CONV_2D"
    got = mean_response(kind, weights, np.mean(maps, axis=0)[0], geometry)  # type: ignore[arg-type]
    np.testing.assert_allclose(got, every.reshape(-1, every.shape[-1]).mean(axis=0), rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize(
    ("size", "kernel", "stride", "padding", "output"),
    [
        ((4, 5), (3, 3), (2, 2), SAME, (8, 10)),
        ((4, 5), (3, 3), (2, 2), SAME, (7, 9)),
        ((3, 4), (2, 4), (2, 3), VALID, (6, 13)),
        ((5, 5), (4, 3), (1, 1), SAME, (5, 5)),
    ],
)
def test_mean_response_of_a_transposed_convolution_is_litert_s(
    size: tuple[int, int],
    kernel: tuple[int, int],
    stride: tuple[int, int],
    padding: int,
    output: tuple[int, int],
    tmp_path: Path,
) -> None:
    weights, x = normal(3, *kernel, 2), normal(1, *size, 2)
    shape = np.array([1, *output, 3], np.int32)
    tensors = [
        T("s", "INT32", (4,), shape.tobytes()),
        T("w", shape=weights.shape, data=weights.tobytes()),
        T("x", shape=x.shape),
        T("y", shape=shape.tolist()),
    ]
    moved = moving(schema.TransposeConvOptionsT(), padding, stride)
    graph = Graph(tensors, ["x"], ["y"], [Op("TRANSPOSE_CONV", ("s", "w", "x"), ("y",), options=moved)])
    model = Editable(File([graph]).write(tmp_path / "t.tflite").read_bytes())
    want = run(model, x).astype(np.float64).reshape(-1, 3).mean(axis=0)
    geometry = Geometry(stride, (1, 1), padding == SAME, output)
    got = mean_response("TRANSPOSE_CONV", weights.astype(np.float64), x[0].astype(np.float64), geometry)
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)


def test_deltas_by_hand() -> None:
    """W = (1, 0.26), Wq = (1, 0.25); E[x] = (2, 4), E[x'] = (2.1, 3.9).

    one-pass: (W - Wq) E[x] = 0.01 * 4 = 0.04. sequential: W E[x] - Wq E[x'] = 3.04 - 3.075 = -0.035.
    """
    weights, stored = np.array([[1, 0.26]]), np.array([[1, 0.25]])
    node: Any = None
    layer = Layer("y", "FULLY_CONNECTED", Geometry(), node, weights, stored, 0, 0, -1, False, np.array([0.01]))
    assert one_pass(layer, np.array([2.0, 4])) == pytest.approx([0.04])
    assert sequential(layer, np.array([2.0, 4]), np.array([2.1, 3.9])) == pytest.approx([-0.035])


def two_layers(bias: bool = True, activation: int = RELU) -> Chain:
    """Dense layers fed with positive values; every weight rounded down shifts every output."""
    first = Dense(normal(8, 16), normal(8) if bias else None, (1, 8), activation)
    return Chain((1, 16), [first, Dense(normal(4, 8), normal(4) if bias else None, (1, 4))])


def positive(count: int, seed: int = 0, width: int = 16) -> list[Array]:
    random = np.random.default_rng(seed)
    return [random.uniform(0, 2, (1, width)).astype(np.float32) for _ in range(count)]


def limits(reference: Editable, samples: list[Array]) -> list[tuple[float, float]]:
    """Of x, t0, t1, by LiteRT with every activation an output."""
    interpreter = Interpreter(model_content=reference.showing(reference.activations()))
    interpreter.allocate_tensors()
    seen: list[list[Array]] = [[] for _ in reference.activations()]
    for x in samples:
        interpreter.set_tensor(reference.inputs[0], x)
        interpreter.invoke()
        for values, tensor in zip(seen, reference.activations(), strict=True):
            values.append(interpreter.get_tensor(tensor))
    return [(float(np.min(values)), float(np.max(values))) for values in seen]


def real_outputs(model: Editable, samples: list[Array]) -> Array:
    """(samples, values)."""
    fed, out = model.affine(model.inputs[0]), model.affine(model.outputs[0])
    found = []
    for x in samples:
        if fed is not None:
            bounds = np.iinfo(model.dtype(model.inputs[0]))
            stored = np.clip(np.rint(x / fed.scale[0]) + fed.zero_point[0], bounds.min, bounds.max)
            x = stored.astype(model.dtype(model.inputs[0]))
        y = run(model, x).astype(np.float64).reshape(-1)
        found.append(y if out is None else out.scale[0] * (y - out.zero_point[0]))
    return np.stack(found)


def corrected(reference: Editable, model: Editable, samples: list[Array], *methods: Method) -> Corrected:
    yardstick = Yardstick(reference, ["x"], [{"x": x} for x in samples])
    return correct(Trial(yardstick, model.to_bytes(), methods))


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(
    ("method", "dtype"),
    # The error that reaches a layer is not known in advance where activations are quantized at run time (float32).
    [
        ("one-pass", "int8"),
        ("sequential", "int8"),
        ("one-pass", "int16"),
        ("sequential", "int16"),
        ("one-pass", "float32"),
    ],
)
def test_mean_outputs_move_to_those_of_float(method: Method, bias: bool, dtype: str, tmp_path: Path) -> None:
    chain = two_layers(bias, activation=0)
    reference, samples, others = chain.build(tmp_path), positive(60), positive(200, seed=1)
    model = quantized(chain, limits(reference, samples + others), tmp_path, dtype, np.floor)  # nothing is clipped
    found = corrected(reference, model, samples, method)
    made = Editable(found.data)
    assert [(one.layer, one.status) for one in found.decisions] == [("t0", "kept"), ("t1", "kept")]
    assert found.sqnr_after_db > found.sqnr_before_db + 5
    want = real_outputs(reference, others).mean(axis=0)
    before, after = (np.abs(real_outputs(m, others).mean(axis=0) - want) for m in (model, made))
    assert after.max() < before.max() / 5
    for node in made.nodes():
        assert len(node.inputs) == 3
        assert made.dtype(node.inputs[2]) == {"int8": "int32", "int16": "int64", "float32": "float32"}[dtype]
        scale = made.affine(node.inputs[2])
        fed, weights = made.affine(node.inputs[0]), made.affine(node.inputs[1])
        if fed is None or weights is None:
            assert scale is None
        else:
            assert scale is not None
            np.testing.assert_allclose(scale.scale, fed.scale[0] * weights.scale, rtol=1e-6)


def test_the_bias_written_is_the_formula(tmp_path: Path) -> None:
    """One dense layer: new bias = old + round((W - Wq) . mean(x) / (scale of x * scale of W))."""
    chain = Chain((1, 16), [Dense(normal(4, 16), normal(4), (1, 4))])
    reference, samples = chain.build(tmp_path), positive(60)
    model = quantized(chain, limits(reference, samples), tmp_path, "int8", np.floor)
    made = Editable(corrected(reference, model, samples, "one-pass").data)
    (layer,), _ = match(reference, model)
    weights = model.affine(layer.node.inputs[1])
    assert weights is not None and layer.bias_scale is not None
    stored = model.constant(layer.node.inputs[1]) * weights.scale[:, None]
    dense = chain.layers[0]
    assert isinstance(dense, Dense)
    delta = (dense.weights - stored) @ np.mean(samples, axis=0, dtype=np.float64)[0]
    steps = made.constant(layer.bias).astype(int) - model.constant(layer.bias)
    np.testing.assert_array_equal(steps, np.rint(delta / layer.bias_scale))


def test_an_added_bias_has_one_scale_where_the_weights_have(tmp_path: Path) -> None:
    """TensorFlow's interpreter refuses a dense layer of one weight scale whose bias has several."""
    chain = Chain((1, 16), [Dense(normal(4, 16), None, (1, 4))])
    reference, samples = chain.build(tmp_path), positive(60)
    stored = quantized(chain, limits(reference, samples), tmp_path, "int8", np.floor).to_bytes()
    whole = schema.ModelT.InitFromObj(schema.Model.GetRootAs(bytearray(stored), 0))
    weights = whole.subgraphs[0].tensors[1]
    weights.quantization.scale, weights.quantization.zeroPoint = [float(weights.quantization.scale.max())], [0]
    builder = flatbuffers.Builder(1024)
    builder.Finish(whole.Pack(builder), b"TFL3")
    made = Editable(corrected(reference, Editable(bytes(builder.Output())), samples, "one-pass").data)
    (node,) = made.nodes()
    bias, scale, fed = made.constant(node.inputs[2]), made.affine(node.inputs[1]), made.affine(node.inputs[0])
    added = made.affine(node.inputs[2])
    assert bias.shape == (4,) and bias.any() and added is not None and scale is not None and fed is not None
    np.testing.assert_allclose(added.scale, fed.scale * scale.scale, rtol=1e-6)
    assert added.scale.shape == added.zero_point.shape == (1,)


def test_layers_that_share_a_bias_of_zeros_get_one_each(tmp_path: Path) -> None:
    first, second = (Dense(normal(16, 16), np.zeros(16, np.float32), (1, 16)) for _ in range(2))
    chain = Chain((1, 16), [first, second])
    reference, samples = chain.build(tmp_path), positive(60)
    model: Any = quantized(chain, limits(reference, samples), tmp_path, "int8", np.floor)
    one, other = model._model.subgraphs[0].operators
    other.inputs = [*other.inputs[:2], one.inputs[2]]
    found = corrected(reference, Editable(model.to_bytes()), samples, "one-pass")
    assert [(decision.layer, decision.status) for decision in found.decisions] == [("t0", "kept"), ("t1", "kept")]
    made = Editable(found.data)
    for position, (node, dense) in enumerate(zip(made.nodes(), (first, second), strict=True)):
        fed, weights, bias = (made.affine(i) for i in node.inputs)
        assert fed is not None and weights is not None and bias is not None
        np.testing.assert_allclose(bias.scale, fed.scale * weights.scale, rtol=1e-6)
        if position == 0:  # the second's mean input is the first's mean output
            stored = made.constant(node.inputs[1]) * weights.scale[:, None]
            delta = (dense.weights - stored) @ np.mean(samples, axis=0, dtype=np.float64)[0]
            np.testing.assert_array_equal(made.constant(node.inputs[2]), np.rint(delta / bias.scale))
    assert made.nodes()[0].inputs[2] != made.nodes()[1].inputs[2]


def test_a_correction_that_would_harm_is_refused(tmp_path: Path) -> None:
    """Every fifth sample is held back; here those are the negatives of the others: the means found are wrong there."""
    chain = Chain((1, 16), [Dense(normal(4, 16), normal(4), (1, 4))])
    samples = [-x if i % 5 == 0 else x for i, x in enumerate(positive(60))]
    reference = chain.build(tmp_path)
    model = quantized(chain, limits(reference, samples), tmp_path, "int8", np.floor)
    found = corrected(reference, model, samples, "sequential", "one-pass")
    assert [(one.status, one.reason) for one in found.decisions] == [
        ("refused", "did not bring the outputs closer to float")
    ]
    assert found.method is None
    assert found.data == model.to_bytes()
    assert found.sqnr_after_db == found.sqnr_before_db


@pytest.mark.parametrize(
    ("count", "in_turn", "fitted_and_held"),
    [
        (1, True, [(1, 1)]),
        (9, True, [(9, 9)]),
        (10, True, [(8, 2)] * 5),
        (12, True, [(9, 3), (9, 3), (10, 2), (10, 2), (10, 2)]),
        (12, False, [(9, 3)]),
        (59, True, [(47, 12)] * 4 + [(48, 11)]),
        (60, True, [(48, 12)]),
        (103, True, [(82, 21)]),
    ],
)
def test_held_back(count: int, in_turn: bool, fitted_and_held: list[tuple[int, int]]) -> None:
    samples: list[dict[str, Array]] = [{"x": np.array(i)} for i in range(count)]
    folds = folds_of(samples, in_turn=in_turn)
    assert [(len(fold.fitted), len(fold.held)) for fold in folds] == fitted_and_held
    if count >= 10:
        for fold in folds:
            assert sorted(int(s["x"]) for s in (*fold.fitted, *fold.held)) == list(range(count))
    if len(folds) > 1:
        assert sorted(int(s["x"]) for fold in folds for s in fold.held) == list(range(count))


@pytest.mark.parametrize(("count", "holds_back"), [(8, False), (20, True)])
def test_few_samples_are_all_judged_on(count: int, holds_back: bool, tmp_path: Path) -> None:
    chain = two_layers()
    reference, samples = chain.build(tmp_path), positive(count)
    model = quantized(chain, limits(reference, samples), tmp_path, "int8", np.floor)
    found = corrected(reference, model, samples, "one-pass")
    assert (found.method, found.held_back) == ("one-pass", count)
    assert Yardstick(reference, ["x"], [{"x": x} for x in samples]).holds_back is holds_back


@pytest.mark.parametrize("count", [8, 10, 12, 20, 59, 60])
def test_the_first_fold_is_judged_alike_alone_and_among_others(count: int, tmp_path: Path) -> None:
    """One and the same file, whose samples have powers of a thousand to one, is never closer than itself."""
    chain = two_layers()
    reference, samples = chain.build(tmp_path), positive(count)
    samples = [x * np.float32(30 if place % 7 == 3 else 1) for place, x in enumerate(samples)]
    model = quantized(chain, limits(reference, samples), tmp_path, "int8", np.rint)
    named = [{"x": x} for x in samples]
    among, alone = (
        Trial(Yardstick(reference, ["x"], named, in_turn=in_turn), model.to_bytes(), ()).closeness_db
        for in_turn in (True, False)
    )
    np.testing.assert_allclose(among[: len(alone)], alone, atol=1e-9)
    assert not surely_closer(among[: len(alone)], alone) and not surely_closer(alone, among[: len(alone)])


def test_what_is_held_back_is_not_measured_on(tmp_path: Path) -> None:
    """Judged on a sample that no fold may measure on, a fold's correction is that of the other samples alone."""
    chain = Chain((1, 16), [Dense(normal(4, 16), normal(4), (1, 4))])
    reference, samples = chain.build(tmp_path), positive(20)
    model = quantized(chain, limits(reference, samples), tmp_path, "int8", np.floor)
    trial = Trial(Yardstick(reference, ["x"], [{"x": x} for x in samples]), model.to_bytes(), ("one-pass",))
    for part, deltas in enumerate(trial.deltas):
        rest = [x for i, x in enumerate(samples) if i % 5 != part]
        alone = Trial(Yardstick(reference, ["x"], [{"x": x} for x in rest * 5]), model.to_bytes(), ("one-pass",))
        np.testing.assert_allclose(deltas["t0"], alone.deltas_by("one-pass", alone.layers, None)["t0"], rtol=1e-6)


def test_layers_that_cannot_be_corrected_are_listed(tmp_path: Path) -> None:
    """A float layer, and a product of two activations, which has no bias."""
    tensors = [
        T("x", shape=(1, 2, 3)),
        T("y", shape=(1, 2, 2)),
        T("w", shape=(2, 3), data=normal(2, 3).tobytes()),
        T("a", shape=(1, 2, 2)),
        T("b", shape=(1, 2, 2)),
    ]
    ops = [Op("FULLY_CONNECTED", ("x", "w", None), ("a",)), Op("BATCH_MATMUL", ("a", "y"), ("b",))]
    model = Editable(File([Graph(tensors, ["x", "y"], ["b"], ops)]).write(tmp_path / "m.tflite").read_bytes())
    layers, left = match(model, model)
    assert layers == ()
    assert [(one.name, one.kind, one.reason) for one in left] == [
        ("a", "FULLY_CONNECTED", "its weights are not quantized"),
        ("b", "BATCH_MATMUL", "no correction is known for this kind of layer"),
    ]


@pytest.mark.parametrize(
    ("kinds", "judged"),
    [
        (["FULLY_CONNECTED", "SOFTMAX"], ["t0"]),
        (["FULLY_CONNECTED", "LOGISTIC", "DEQUANTIZE"], ["t0"]),
        (["FULLY_CONNECTED", "DEQUANTIZE"], ["t1"]),
        (["SOFTMAX", "FULLY_CONNECTED"], ["t1"]),
        (["SOFTMAX"], ["x"]),
    ],
)
def test_outputs_are_judged_before_a_last_softmax(kinds: list[str], judged: list[str], tmp_path: Path) -> None:
    tensors = [T("x"), T("w", shape=(4, 4)), *(T(f"t{i}") for i in range(len(kinds)))]
    last, ops = "x", []
    for i, kind in enumerate(kinds):
        ops.append(Op(kind, (last, "w") if kind == "FULLY_CONNECTED" else (last,), (f"t{i}",)))
        last = f"t{i}"
    model = Editable(File([Graph(tensors, ["x"], [last], ops)]).write(tmp_path / "m.tflite").read_bytes())
    for found in judged_tensors(model, model):
        assert [model.name(i) for i in found] == judged


def test_activation_by_hand() -> None:
    assert activation((-1.0, 1.55), "int8") == Activation(pytest.approx(0.01), -28)
    assert activation((0.5, 2.55), "int8") == Activation(pytest.approx(0.01), -128)
