"""The LiteRT door: names, quantized inputs and outputs, dynamic dimensions, what it refuses, delegated operators."""

import os
from pathlib import Path

import numpy as np
import pytest
from tiny_tflite import File, Graph, Op, Sig, T, int8_dense

from tflite_ptq.errors import MeasurementError, ModelError, UserError
from tflite_ptq.model.delegation import Node, Placement, placement
from tflite_ptq.model.interpreter import Runner
from tflite_ptq.model.refusal import explain

REAL = Path(os.environ.get("TFLITE_PTQ_REAL_DATA", Path(__file__).parents[2] / "shared" / "data"))


def two_inputs(path: Path, signature: bool) -> Path:
    """y = a - b, and its soft max; the signature calls them first, second, difference and share."""
    tensors = [T("a"), T("b"), T("y"), T("p")]
    ops = [Op("SUB", ["a", "b"], ["y"]), Op("SOFTMAX", ["y"], ["p"])]
    sig = Sig("serving_default", {"second": "b", "first": "a"}, {"share": "p", "difference": "y"})
    return File([Graph(tensors, ["a", "b"], ["y", "p"], ops)], [sig] if signature else []).write(path)


@pytest.mark.parametrize(
    ("signature", "inputs", "outputs"),
    [(True, ["first", "second"], ["difference", "share"]), (False, ["a", "b"], ["y", "p"])],
)
def test_names(signature: bool, inputs: list[str], outputs: list[str], tmp_path: Path) -> None:
    runner = Runner(two_inputs(tmp_path / "m.tflite", signature), "xnnpack", 1)
    assert [info.name for info in runner.inputs] == inputs
    assert [info.name for info in runner.outputs] == outputs
    first, second = np.array([[4, 3, 2, 1]], np.float32), np.array([[1, 1, 1, 1]], np.float32)
    found = runner.run({inputs[1]: second, inputs[0]: first})  # by name, whatever the order
    assert found[outputs[0]].tolist() == [[3, 2, 1, 0]]
    kept = found[outputs[0]]
    runner.run({inputs[0]: second, inputs[1]: first})
    assert kept.tolist() == [[3, 2, 1, 0]]  # a copy


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"a": np.zeros((1, 4), np.float32)}, "no values for input 'b'; the model's inputs are 'a', 'b'"),
        (
            {"a": np.zeros((1, 4), np.float32), "c": np.zeros((1, 4), np.float32)},
            "the model has no input 'c'; its inputs are 'a', 'b'",
        ),
        (
            {"a": np.zeros((1, 5), np.float32), "b": np.zeros((1, 4), np.float32)},
            "input 'a': expected shape (1, 4), got (1, 5)",
        ),
        (
            {"a": np.zeros((1, 4), np.complex64), "b": np.zeros((1, 4), np.float32)},
            "input 'a': expected float32, got complex64",
        ),
    ],
)
def test_wrong_inputs(values: dict[str, np.ndarray], message: str, tmp_path: Path) -> None:
    path = two_inputs(tmp_path / "m.tflite", signature=False)
    with pytest.raises(MeasurementError) as caught:
        Runner(path, "cpu", 1).run(values)
    assert str(caught.value) == f"{path}: {message}"


def test_real_values_into_int8(tmp_path: Path) -> None:
    runner = Runner(int8_dense(tmp_path / "m.tflite"), "cpu", 1)
    info = runner.inputs[0]
    assert (info.name, info.shape, info.dtype, info.scale, info.zero_point) == ("features", (-1, 4), "int8", 0.5, -3)
    found = runner.run({"features": np.array([[0, 0, 1000, -1000]], np.float32)})["scores"]
    assert found.dtype == np.float32
    assert found.tolist() == [[0, 0]]  # weights and biases are zero, and so is the real value of zero point -3
    assert runner.get_raw(0).tolist() == [[-3, -3]]


@pytest.mark.parametrize("delegate", ["cpu", "xnnpack"])
def test_dynamic_dimension_follows_the_sample(delegate: str, tmp_path: Path) -> None:
    tensors = [T("x", shape=(1, 1), shape_signature=(1, -1)), T("y", shape=(1, 1), shape_signature=(1, -1))]
    path = File([Graph(tensors, ["x"], ["y"], [Op("NEG", ["x"], ["y"])])]).write(tmp_path / "m.tflite")
    runner = Runner(path, delegate, 1)  # type: ignore[arg-type]
    assert runner.inputs[0].shape == (1, -1)
    for length in (3, 5, 2):
        assert runner.run({"x": np.ones((1, length), np.float32)})["y"].tolist() == [[-1.0] * length]


def _custom(path: Path, name: str) -> Path:
    return File([Graph([T("x"), T("y")], ["x"], ["y"], [Op(name, ["x"], ["y"])])]).write(path)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path: path.with_name("none.tflite"), "{path}: no such file; give the path of a .tflite file"),
        (
            lambda path: (path.write_bytes(b"GIF89a" * 50), path)[1],
            "{path}: not a .tflite file, or a truncated one; convert or download it again",
        ),
        (
            lambda path: (path.write_bytes(b""), path)[1],
            "{path}: not a .tflite file, or a truncated one; convert or download it again",
        ),
        (
            lambda path: _custom(path, "MyOwnOp"),
            "{path}: custom operator 'MyOwnOp' has no kernel here; convert the model without it, "
            "or without --allow_custom_ops",
        ),
        (
            lambda path: _custom(path, "FlexErf"),
            "{path}: the model holds TensorFlow operators (FlexErf) that LiteRT runs only with the Flex delegate; "
            "replace the layers that need them, or convert with built-in operators only",
        ),
        (
            lambda path: File([Graph([T("x"), T("y")], ["x"], ["y"], [Op("NEG", ["x"], ["y"], 99)])]).write(path),
            "{path}: this LiteRT has no kernel for NEG version 99; upgrade ai-edge-litert, "
            "or convert with an older converter",
        ),
    ],
    ids=["missing", "foreign", "empty", "custom", "flex", "version"],
)
def test_what_is_refused(make: object, message: str, tmp_path: Path) -> None:
    path = make(tmp_path / "m.tflite")  # type: ignore[operator]
    with pytest.raises(ModelError) as caught:
        Runner(path, "cpu", 1)
    assert str(caught.value) == message.format(path=path)


def test_other_reasons_are_told_whole() -> None:
    assert explain(Path("m.tflite"), "shapes differ\nNode number 3 (ADD) failed to prepare.") == (
        "m.tflite: LiteRT cannot use the model at operator ADD: shapes differ Node number 3 (ADD) failed to prepare."
    )
    assert issubclass(ModelError, UserError)


def _node(name: str, inputs: list[int], outputs: list[int]) -> Node:
    return {"op_name": name, "inputs": inputs, "outputs": outputs}


@pytest.mark.parametrize(
    ("delegates", "taken", "left"),
    [
        ([], 0, {"CONV_2D": 1, "ADD": 1, "SOFTMAX": 1, "NEG": 1}),
        ([_node("DELEGATE", [0, 9], [4])], 4, {}),
        ([_node("DELEGATE", [1], [2])], 1, {"CONV_2D": 1, "SOFTMAX": 1, "NEG": 1}),
        ([_node("DELEGATE", [0], [2]), _node("DELEGATE", [3], [4])], 3, {"SOFTMAX": 1}),
    ],
)
def test_delegated_operators(delegates: list[Node], taken: int, left: dict[str, int]) -> None:
    chain = [
        _node("CONV_2D", [0, 9, -1], [1]),
        _node("ADD", [1, 0], [2]),
        _node("SOFTMAX", [2], [3]),
        _node("NEG", [3], [4]),
    ]
    assert placement([*chain, *delegates]) == Placement(taken, 4, left)


@pytest.mark.skipif(not REAL.is_dir(), reason=f"no real data at {REAL} (TFLITE_PTQ_REAL_DATA)")
def test_published_keyword_model() -> None:
    plain = Runner(REAL / "mlperf_tiny/kws/kws_ref_model.tflite", "cpu", 1)
    stored = np.fromfile(sorted((REAL / "mlperf_tiny/kws/features").glob("*.bin"))[0], np.int8).reshape(1, 49, 10, 1)
    real = (stored.astype(np.float32) - 83) * np.float32(0.5847029089927673)
    plain.set_raw(0, stored)
    plain.invoke()
    raw = plain.get_raw(0)
    from_real = plain.run({"input_1": real})["Identity"]
    assert np.array_equal(from_real, (raw.astype(np.float32) + 128) / 256)  # the same as its stored bytes give
