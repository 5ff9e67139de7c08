"""Models that XNNPACK does not run: LiteRT's plain kernels show their activations, and that is told.

What it refuses here is an int8 transposed convolution of one weight scale whose bias has several.
"""

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
from tflite_ptq.model.tap import watching
from tflite_ptq.quantize.calibration.collect import collect
from tflite_ptq.quantize.calibration.statistics import Gather
from tflite_ptq.quantize.correction.apply import add_to_bias
from tflite_ptq.quantize.correction.decide import Trial
from tflite_ptq.quantize.correction.layers import Layer
from tflite_ptq.quantize.correction.response import Geometry
from tflite_ptq.quantize.correction.yardstick import Yardstick
from tflite_ptq.report.notes import by_plain_kernels

Array = NDArray[Any]


def upsampling(folder: Path, *, refused: bool, operator: str = "TRANSPOSE_CONV", bias: bool = True) -> Editable:
    """x, float (1, 4, 4, 2), is quantized and convolved to (1, 8, 8, 3), and back in float y."""
    random = np.random.default_rng(0)
    weights = random.integers(-127, 128, (3, 2, 2, 2)).astype(np.int8)
    scales = [0.0002] * (3 if refused else 1)
    tensors = [
        T("x", shape=(1, 4, 4, 2)),
        T("q", "INT8", (1, 4, 4, 2), scale=[0.02], zero_point=[0]),
        T("size", "INT32", (4,), np.array([1, 8, 8, 3], np.int32).tobytes()),
        T("w", "INT8", weights.shape, weights.tobytes(), [0.01], [0]),
        T("b", "INT32", (3,), np.array([400, -300, 900], np.int32).tobytes(), scales, [0] * len(scales)),
        T("u", "INT8", (1, 8, 8, 3), scale=[0.05], zero_point=[0]),
        T("y", shape=(1, 8, 8, 3)),
    ]
    moved = moving(schema.TransposeConvOptionsT(), schema.Padding.VALID, (2, 2))
    ops = [
        Op("QUANTIZE", ["x"], ["q"]),
        Op(operator, ["size", "w", "q", *(["b"] if bias else [])], ["u"], 3, moved),
        Op("DEQUANTIZE", ["u"], ["y"]),
    ]
    file = File([Graph(tensors, ["x"], ["y"], ops)]).write(folder / f"{refused}.tflite")
    return Editable(file.read_bytes())


def samples(count: int) -> list[Array]:
    return list(np.random.default_rng(1).normal(size=(count, 1, 4, 4, 2)).astype(np.float32))


def by_litert(model: Editable, given: list[Array], kernels: OpResolverType) -> Array:
    interpreter = Interpreter(model_content=model.to_bytes(), experimental_op_resolver_type=kernels)
    interpreter.allocate_tensors()
    found = []
    for x in given:
        interpreter.set_tensor(model.inputs[0], x)
        interpreter.invoke()
        found.append(interpreter.get_tensor(model.outputs[0]))
    return np.stack(found)


def test_xnnpack_runs_what_it_can(tmp_path: Path) -> None:
    model, (x,) = upsampling(tmp_path, refused=False), samples(1)
    tap = watching(model, model.outputs)
    tap.run([x])
    assert tap.refused is None
    np.testing.assert_array_equal(tap.view(0), by_litert(model, [x], OpResolverType.BUILTIN)[0])


def test_plain_kernels_run_what_xnnpack_refuses(tmp_path: Path) -> None:
    model, given = upsampling(tmp_path, refused=True), samples(3)
    with pytest.raises(RuntimeError, match="failed to delegate"):
        by_litert(model, given, OpResolverType.BUILTIN)
    want = by_litert(model, given, OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES)
    tap = watching(model, model.outputs)
    for x, y in zip(given, want, strict=True):
        tap.run([x])
        np.testing.assert_array_equal(tap.view(0), y)
    assert tap.refused is not None
    assert "TRANSPOSE_CONV" in tap.refused and "\n" not in tap.refused


def test_what_neither_runs_is_an_error(tmp_path: Path) -> None:
    model = upsampling(tmp_path, refused=True, operator="CONV_2D")
    with pytest.raises(
        MeasurementError, match=r"^LiteRT cannot run the model with its activations exposed: \S.*CONV_2D"
    ):
        watching(model, model.outputs)


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("gather", [Gather(), Gather(histograms=True)])
@pytest.mark.parametrize("refused", [True, False])
def test_calibration_by_plain_kernels_says_so_once(refused: bool, gather: Gather, threads: int, tmp_path: Path) -> None:
    model, given = upsampling(tmp_path, refused=refused), samples(12)
    told: list[str] = []
    found, _ = collect(
        model,
        ["x"],
        given,
        lambda part: ({"x": x} for x in part),
        gather,
        threads,
        lambda done, total: None,
        told.append,
    )
    kernels = OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES if refused else OpResolverType.BUILTIN
    want = by_litert(model, given, kernels)
    one = found[model.named()["y"]]
    assert (one.min, one.max, one.samples) == (want.min(), want.max(), len(given))
    assert len(told) == refused
    assert all("TRANSPOSE_CONV" in reason for reason in told)


@pytest.mark.parametrize(("reference", "model"), [(False, True), (True, False), (True, True), (False, False)])
def test_correction_by_plain_kernels_says_so(reference: bool, model: bool, tmp_path: Path) -> None:
    yardstick = Yardstick(upsampling(tmp_path, refused=reference), ["x"], [{"x": x} for x in samples(20)])
    trial = Trial(yardstick, upsampling(tmp_path, refused=model).to_bytes(), ())
    assert trial.finite
    assert (trial.refused is not None) == (reference or model)


def test_biases_that_only_plain_kernels_take_are_not_kept(tmp_path: Path) -> None:
    """Plain kernels would judge them, and the phone's XNNPACK would then refuse the file."""
    plain, spoilt = (upsampling(tmp_path, refused=refused) for refused in (False, True))
    yardstick = Yardstick(plain, ["x"], [{"x": x} for x in samples(20)])
    judge, before, refused = yardstick.judge(plain)
    assert refused is None
    folds = len(yardstick.folds)
    np.testing.assert_array_equal(judge([plain] * folds), before)
    with pytest.raises(
        MeasurementError, match=r"^XNNPACK does not run the model with its biases corrected: .*TRANSPOSE_CONV"
    ):
        judge([spoilt] * folds)


def test_xnnpack_takes_a_bias_that_the_correction_adds(tmp_path: Path) -> None:
    """Of one scale, as the weights have one: what a Conv1DTranspose without a bias gets."""
    model, (x,) = upsampling(tmp_path, refused=False, bias=False), samples(1)
    before = by_litert(model, [x], OpResolverType.BUILTIN)
    node, weights, scale = model.nodes()[1], np.zeros((3, 2, 2, 2)), np.array([0.02 * 0.01])
    layer = Layer("u", "TRANSPOSE_CONV", Geometry(), node, weights, weights, 0, node.inputs[2], -1, False, scale)
    add_to_bias(model, layer, np.array([0.5, 0, -0.25]))
    tap = watching(model, model.outputs)
    tap.run([x])
    assert tap.refused is None
    unclipped = np.abs(before[0]) < 5.5
    moved = np.where(unclipped, tap.view(0) - before[0] - [0.5, 0, -0.25], 0)
    assert np.abs(moved).max() < 0.051  # one step of the output


def test_the_note() -> None:
    assert by_plain_kernels("calibrated", "failed to delegate X") == (
        "calibrated with LiteRT's plain kernels: XNNPACK does not run the model with its activations exposed: "
        "failed to delegate X"
    )
