"""What flatbuffer.describe reads, against hand-written files and LiteRT's own reading; and what garbage gets."""

from __future__ import annotations

import os
import random
import struct
import time
from pathlib import Path

import pytest
from tiny_tflite import File, Graph, Op, Sig, T, int8_dense

from tflite_ptq.errors import ModelError
from tflite_ptq.model.flatbuffer import describe

DATA = Path(os.environ.get("TFLITE_PTQ_REAL_DATA", Path(__file__).parents[1] / "../shared/data"))
PUBLISHED = {
    "ic/pretrainedResnet_quant.tflite": {"CONV_2D": 9, "ADD": 3},
    "kws/kws_ref_model.tflite": {"CONV_2D": 5, "DEPTHWISE_CONV_2D": 4},
    "vww/vww_96_int8.tflite": {"CONV_2D": 14, "DEPTHWISE_CONV_2D": 13},
    "ad/ad01_int8.tflite": {"FULLY_CONNECTED": 10},
    "sww/str_ww_ref_model.tflite": {"CONV_2D": 4, "DEPTHWISE_CONV_2D": 4},
}


def test_all_fields_of_a_small_file(tmp_path: Path) -> None:
    found = describe(int8_dense(tmp_path / "m.tflite"))
    assert found.size_bytes == (tmp_path / "m.tflite").stat().st_size
    assert (found.schema_version, found.text, found.min_runtime_version) == (3, "tiny", "2.3.0")
    (features,), (scores,) = found.inputs, found.outputs
    assert (features.name, features.shape, features.dtype) == ("features", (-1, 4), "int8")
    assert (features.scale, features.zero_point) == (0.5, -3)
    assert (scores.name, scores.shape) == ("scores", (1, 2))
    (op,) = found.subgraphs[0].operators
    weights = op.inputs[1]
    assert (op.name, op.version, op.custom) == ("FULLY_CONNECTED", 4, False)
    assert weights is not None and weights.per_channel and weights.constant_bytes == 8
    assert (weights.scale, weights.zero_point, weights.quantized_dimension) == ((0.25, 0.125), (0, 0), 0)
    assert weights.info().scale is None, "one scale a channel is no single scale"
    assert [(w.dtype, w.count, w.size_bytes, w.per_channel) for w in found.weights] == [
        ("int32", 1, 8, 1),
        ("int8", 1, 8, 1),
    ]


def test_custom_optional_variable_sparse_shared_and_several_subgraphs(tmp_path: Path) -> None:
    main = Graph(
        [
            T("x"),
            T("state", variable=True),
            T("w1", data=bytes(16), sparse=True),
            T("w2", share="w1"),
            T("y", "RESOURCE", ()),
        ],
        ["x"],
        ["y"],
        [Op("MyOp", ("x", None, "w1", "state"), ("y",)), Op("MyOp", ("x", "w2"), ("y",), 2)],
    )
    body = Graph([T("a"), T("b")], ["a"], ["b"], [Op("STABLEHLO_ADD", ("a",), ("b",))])
    signatures = [Sig("one", {"in": "x"}, {"out": "y"}), Sig("two", {"a": "a"}, {"b": "b"}, graph=1)]
    found = describe(File([main, body], signatures).write(tmp_path / "m.tflite"))
    first, second = found.subgraphs[0].operators
    assert (first.name, first.custom, first.inputs[1]) == ("MyOp", True, None)
    assert found.subgraphs[1].operators[0].name == "STABLEHLO_ADD", "a builtin code above 127"
    assert [(o.name, o.version, o.count) for o in found.operator_counts] == [
        ("MyOp", 1, 1),
        ("MyOp", 2, 1),
        ("STABLEHLO_ADD", 1, 1),
    ]
    assert [tensor.variable for tensor in found.subgraphs[0].tensors] == [False, True, False, False, False]
    (weights,) = found.weights
    assert (weights.count, weights.size_bytes, weights.sparse) == (2, 16, 1), "shared data counts once"
    assert [s.key for s in found.signatures] == ["one", "two"]
    assert found.entry_points == {0, 1}
    assert found.min_runtime_version is None and second.outputs[0].dtype == "resource"


def test_signature_entries_follow_the_subgraph_not_the_alphabet(tmp_path: Path) -> None:
    graph = Graph([T("p"), T("q"), T("y")], ["p", "q"], ["y"], [Op("ADD", ("p", "q"), ("y",))])
    signature = Sig("serving_default", {"alpha": "q", "beta": "p"}, {"y": "y"})
    found = describe(File([graph], [signature]).write(tmp_path / "m.tflite"))
    assert [info.name for info in found.inputs] == ["beta", "alpha"]
    unnamed = describe(File([graph]).write(tmp_path / "n.tflite"))
    assert [info.name for info in unnamed.inputs] == ["p", "q"]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "an empty file"),
        (b"\x89HDF\r\n\x1a\n" + bytes(50), "an HDF5 file"),
        (b"PK\x03\x04" + bytes(50), "a zip archive"),
        (b"\x89PNG\r\n\x1a\n" + bytes(50), "a PNG image"),
        (b"hello there", "a text file"),
        (b"version https://git-lfs.github.com/spec/v1\n", "a Git LFS pointer"),
        (b"\x01\x02\x03\x04\x05\x06\x07\x08\xff", "a file of unknown kind (first bytes 01 02 03 04 05 06 07 08)"),
    ],
)
def test_foreign_file(tmp_path: Path, content: bytes, said: str) -> None:
    path = tmp_path / "m.tflite"
    path.write_bytes(content)
    with pytest.raises(ModelError) as caught:
        describe(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: is not a TensorFlow Lite model ('TFL3' at bytes 4 to 8) but {said}")
    assert message.endswith("give a .tflite file, or make one with `tflite-ptq convert`")


def test_onnx_is_named(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(b"\x08\x07\x12\x07pytorch\x1a\x00")
    with pytest.raises(ModelError, match="but an ONNX model"):
        describe(path)


def test_missing_file_and_folder(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"no such file; give a \.tflite file"):
        describe(tmp_path / "absent.tflite")
    with pytest.raises(ModelError, match=r"is a folder; give a \.tflite file"):
        describe(tmp_path)


def test_every_truncation_is_an_error_of_ours(tmp_path: Path) -> None:
    whole = int8_dense(tmp_path / "m.tflite", float_io=True).read_bytes()
    path, survived = tmp_path / "cut.tflite", []
    for length in range(8, len(whole) - 16):
        path.write_bytes(whole[:length])
        try:
            describe(path)
        except ModelError as error:
            assert "truncated or damaged" in str(error)
        else:
            survived.append(length)
    assert survived == []


def test_garbage_never_raises_anything_else(tmp_path: Path) -> None:
    whole = int8_dense(tmp_path / "m.tflite", float_io=True).read_bytes()
    path, source, started = tmp_path / "bad.tflite", random.Random(0), time.monotonic()
    for _ in range(400):
        bad = bytearray(whole)
        for _ in range(source.randint(1, 6)):
            at = source.choice((0, *range(8, len(bad) - 4)))
            struct.pack_into("<I", bad, at, source.choice((0, 1, 0x7FFFFFFF, 0xFFFFFFFF, source.getrandbits(32))))
        path.write_bytes(bad)
        try:
            describe(path)
        except ModelError:
            continue
    assert time.monotonic() - started < 60, "garbage lengths must not be walked"


@pytest.mark.skipif(not DATA.is_dir(), reason=f"no real data at {DATA} (TFLITE_PTQ_REAL_DATA)")
@pytest.mark.parametrize("name", PUBLISHED)
def test_published_model_reads_as_litert_reads_it(name: str) -> None:
    from ai_edge_litert.interpreter import Interpreter

    path = DATA / "mlperf_tiny" / name
    found, interpreter = describe(path), Interpreter(str(path))
    counts = {entry.name: entry.count for entry in found.operator_counts}
    assert PUBLISHED[name].items() <= counts.items()
    graph = found.subgraphs[0]
    for ours, theirs in (
        (graph.inputs, interpreter.get_input_details()),
        (graph.outputs, interpreter.get_output_details()),
    ):
        for tensor, detail in zip(ours, theirs, strict=True):
            assert (tensor.name, tensor.shape) == (detail["name"], tuple(detail["shape_signature"]))
            assert tensor.dtype == detail["dtype"].__name__
            assert (tensor.scale[0], tensor.zero_point[0]) == detail["quantization"]
    scales = {d["index"]: d["quantization_parameters"] for d in interpreter.get_tensor_details()}
    for tensor in graph.tensors:
        assert tensor.scale == tuple(scales[tensor.index]["scales"].tolist()), tensor.name
