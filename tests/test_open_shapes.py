"""Models of an open batch, in whose file 1 stands for every size that follows from it: corrected like any other."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter, OpResolverType
from numpy.typing import NDArray
from tiny_tflite import File, Graph, Op, T, moving

from tflite_ptq.errors import MeasurementError
from tflite_ptq.model.editing import Editable
from tflite_ptq.model.open_shapes import learn_shapes
from tflite_ptq.quantize.correction.decide import Corrected, Method, Trial, correct
from tflite_ptq.quantize.correction.sequential import mean_maps
from tflite_ptq.quantize.correction.yardstick import Yardstick
from tflite_ptq.quantize.weights.apply import prepare_weights

Array = NDArray[Any]
RNG = np.random.default_rng(3)
CONV = RNG.uniform(-1, 1, (3, 3, 3, 2)).astype(np.float32)
DENSE = RNG.uniform(-1, 1, (4, 3)).astype(np.float32)
TRUE = {
    "apart": (4, 4, 4, 2),
    "convolved": (4, 2, 2, 3),
    "joined": (1, 4, 4, 3),
    "rows": (16, 3),
    "y": (16, 4),
}
"""By hand: each operator on one sample of (6, 6, 2), padded by 1."""
RANGES = {"x": 2.0, "apart": 2.0, "convolved": 4.0, "joined": 4.0, "rows": 4.0, "y": 4.0}
"""Of each activation, from -range to range; wider than any value met, so that nothing is clipped."""


def codes(weights: Array) -> tuple[Array, Array]:
    """(int8, scale of each output channel); coarse and rounded down, so that every output is shifted."""
    scale = np.abs(weights).max(axis=tuple(range(1, weights.ndim)), keepdims=True) / 15
    return np.floor(weights / scale).astype(np.int8), scale.reshape(-1).astype(np.float64)


def dilated(folder: Path, *, quantized: bool) -> Editable:
    """A dilated convolution as TFLiteConverter writes one for an open batch, and a dense layer on its pixels as rows:
    x, apart, convolved, joined, rows, y."""

    def activation(name: str, *shape: int) -> T:
        in_file = tuple(1 if size < 0 else size for size in shape)
        if not quantized:
            return T(name, shape=in_file, shape_signature=shape)
        return T(name, "INT8", in_file, scale=[RANGES[name] / 127], zero_point=[0], shape_signature=shape)

    def constants(name: str, weights: Array, fed: str) -> list[T]:
        bias = np.zeros(len(weights), np.float32)
        if not quantized:
            return [
                T(name, shape=weights.shape, data=weights.tobytes()),
                T(f"{name} bias", shape=bias.shape, data=bias.tobytes()),
            ]
        stored, scale = codes(weights)
        none, scales = [0] * len(scale), scale * (RANGES[fed] / 127)
        return [
            T(name, "INT8", weights.shape, stored.tobytes(), scale.tolist(), none),
            T(f"{name} bias", "INT32", bias.shape, bytes(4 * len(bias)), scales.tolist(), none),
        ]

    def whole(name: str, *numbers: Any) -> T:
        return T(name, "INT32", np.shape(numbers), np.array(numbers, np.int32).tobytes())

    tensors = [
        activation("x", -1, 6, 6, 2),
        whole("block", 2, 2),
        whole("padding", (1, 1), (1, 1)),
        activation("apart", -1, 4, 4, 2),
        *constants("conv", CONV, "apart"),
        activation("convolved", -1, 2, 2, 3),
        whole("crops", (0, 0), (0, 0)),
        activation("joined", -1, 4, 4, 3),
        whole("to rows", -1, 3),
        activation("rows", -1, 3),
        *constants("dense", DENSE, "rows"),
        activation("y", -1, 4),
    ]
    moved = moving(schema.Conv2DOptionsT(), schema.Padding.VALID, (1, 1))
    ops = [
        Op("SPACE_TO_BATCH_ND", ["x", "block", "padding"], ["apart"]),
        Op("CONV_2D", ["apart", "conv", "conv bias"], ["convolved"], 3, moved),
        Op("BATCH_TO_SPACE_ND", ["convolved", "block", "crops"], ["joined"]),
        Op("RESHAPE", ["joined", "to rows"], ["rows"]),
        Op("FULLY_CONNECTED", ["rows", "dense", "dense bias"], ["y"], version=4),
    ]
    file = File([Graph(tensors, ["x"], ["y"], ops)]).write(folder / f"{quantized}.tflite")
    return Editable(file.read_bytes())


def samples(count: int, seed: int = 0) -> list[Array]:
    """Brighter to one side: the rows that the dense layer meets are unlike, and so are the four parts of a map."""
    random = np.random.default_rng(seed)
    ramp = np.linspace(0.1, 2, 6)[:, None, None] * np.linspace(0.5, 1, 6)[None, :, None]
    return [(ramp * random.uniform(0.3, 1, (1, 6, 6, 2))).astype(np.float32) for _ in range(count)]


def outputs(model: Editable, given: list[Array], tensor: str = "y") -> Array:
    """Real values of a tensor by LiteRT's plain kernels, (samples, *shape)."""
    index = model.named()[tensor]
    interpreter = Interpreter(
        model_content=model.showing([index]),
        experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
    )
    interpreter.allocate_tensors()
    fed, affine, found = model.affine(model.inputs[0]), model.affine(index), []
    for x in given:
        value = x if fed is None else np.rint(x / fed.scale[0]).astype(np.int8)
        interpreter.set_tensor(model.inputs[0], value)
        interpreter.invoke()
        found.append(interpreter.get_tensor(index) * (1.0 if affine is None else affine.scale[0]))
    return np.stack(found).astype(np.float64)


def corrected(reference: Editable, model: Editable, given: list[Array], *methods: Method) -> Corrected:
    yardstick = Yardstick(reference, ["x"], [{"x": x} for x in given])
    return correct(Trial(yardstick, model.to_bytes(), methods))


@pytest.mark.parametrize("quantized", [False, True])
def test_shapes_are_those_of_the_run_and_the_file_keeps_its_own(quantized: bool, tmp_path: Path) -> None:
    model = dilated(tmp_path, quantized=quantized)
    before, named = model.to_bytes(), model.named()
    assert model.shape(named["rows"]) == (1, 3)
    learn_shapes(model, [np.zeros((1, 6, 6, 2), "int8" if quantized else "float32")])
    assert {name: model.shape(named[name]) for name in TRUE} == TRUE
    assert {name: model.copy().shape(named[name]) for name in TRUE} == TRUE
    assert model.to_bytes() == before


def test_mean_maps_are_those_of_all_rows(tmp_path: Path) -> None:
    model, given = dilated(tmp_path, quantized=False), samples(5)
    learn_shapes(model, [given[0]])
    named = model.named()
    found = mean_maps(model, [named["apart"], named["rows"]], [[x] for x in given])
    for name in ("apart", "rows"):
        np.testing.assert_allclose(found[named[name]], outputs(model, given, name).mean(axis=(0, 1)), rtol=1e-5)


@pytest.mark.parametrize("method", ["one-pass", "sequential"])
def test_mean_outputs_move_to_those_of_float(method: Method, tmp_path: Path) -> None:
    reference, model = dilated(tmp_path, quantized=False), dilated(tmp_path, quantized=True)
    others = samples(100, seed=1)
    found = corrected(reference, model, samples(60), method)
    assert [(one.layer, one.status) for one in found.decisions] == [("convolved", "kept"), ("y", "kept")]
    want = outputs(reference, others).mean(axis=(0, 1))
    before, after = (np.abs(outputs(m, others).mean(axis=(0, 1)) - want).max() for m in (model, Editable(found.data)))
    assert after < before / 5


def test_weights_are_rounded_by_all_rows(tmp_path: Path) -> None:
    model = dilated(tmp_path, quantized=False)
    changes = prepare_weights(model, [[x] for x in samples(20)], rounding="compensated", weight_range="max")
    assert [(change.name, change.rounding, change.reason) for change in changes] == [
        ("convolved", "compensated", None),
        ("y", "compensated", None),
    ]
    assert all(change.gain_db is not None and change.gain_db >= 0 for change in changes)


def test_a_shape_that_depends_on_the_sample_is_told(tmp_path: Path) -> None:
    zero = np.zeros(1, np.float32).tobytes()
    tensors = [
        T("x", shape=(2,)),
        T("zero", shape=(1,), data=zero),
        T("mask", "BOOL", (2,)),
        T("where", "INT64", (1, 1), shape_signature=(-1, 1)),
        T("perm", "INT32", (2,), np.array([1, 0], np.int32).tobytes()),
        T("turned", "INT64", (1, 1), shape_signature=(1, -1)),
        T("y", shape=(1, 1), shape_signature=(1, -1)),
    ]
    ops = [
        Op("GREATER", ["x", "zero"], ["mask"]),
        Op("WHERE", ["mask"], ["where"]),
        Op("TRANSPOSE", ["where", "perm"], ["turned"]),
        Op("CAST", ["turned"], ["y"]),
    ]
    model = Editable(File([Graph(tensors, ["x"], ["y"], ops)]).write(tmp_path / "m.tflite").read_bytes())
    given = [[np.array(x, np.float32)] for x in ([1, 1], [1, -1])]
    learn_shapes(model, given[0])
    with pytest.raises(MeasurementError, match=r"^the shape of 'y' depends on the sample: \(2,\), then \(1,\)$"):
        mean_maps(model, [model.named()["y"]], given)


def test_a_sample_of_another_shape_is_told(tmp_path: Path) -> None:
    model = dilated(tmp_path, quantized=False)
    with pytest.raises(MeasurementError, match=r"^LiteRT failed on a sample: "):
        learn_shapes(model, [np.zeros((1, 5, 6, 2), np.float32)])
