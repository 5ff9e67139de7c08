"""Inputs read without TensorFlow: model file -> specs, or the exact complaint."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from tiny_tflite import File, Graph, Op, Sig, T, int8_dense

from tflite_ptq.errors import ModelError
from tflite_ptq.model.interpreter import Runner
from tflite_ptq.model.keras_config import scales_inputs
from tflite_ptq.model.signature import kind, read_inputs
from tflite_ptq.result import TensorInfo

DATA = Path(os.environ.get("TFLITE_PTQ_REAL_DATA", Path(__file__).parents[1] / "../shared/data"))
Spec = list[tuple[str, tuple[int, ...], str]]


def specs(path: Path, signature: str | None = None) -> Spec | None:
    found = read_inputs(path, signature)
    return None if found is None else [(info.name, info.shape, info.dtype) for info in found]


def layer(name: str, shape: list[int | None], dtype: object = "float32", key: str = "batch_shape") -> dict[str, object]:
    return {"class_name": "InputLayer", "config": {"name": name, key: shape, "dtype": dtype}, "name": name}


def functional(layers: list[dict[str, object]], inputs: object) -> dict[str, object]:
    return {"class_name": "Functional", "config": {"layers": layers, "input_layers": inputs}}


def sequential(first: dict[str, object], **more: object) -> dict[str, object]:
    return {"class_name": "Sequential", "config": {"layers": [first], **more}}


DENSE = {"class_name": "Dense", "config": {"name": "d", "dtype": "float32"}}
POLICY = {"class_name": "DTypePolicy", "config": {"name": "float16"}}
A, B = layer("a", [None, 3]), layer("b", [2, None, 4], "int32")
CONFIGS: dict[str, tuple[dict[str, object], Spec | None]] = {
    "one input, flat": (functional([A], ["a", 0, 0]), [("a", (-1, 3), "float32")]),
    "one input, nested": (functional([A], [["a", 0, 0]]), [("a", (-1, 3), "float32")]),
    "the model's order": (
        functional([A, B], [["b", 0, 0], ["a", 0, 0]]),
        [("b", (2, -1, 4), "int32"), ("a", (-1, 3), "float32")],
    ),
    "inputs by name": (functional([A], {"a": ["a", 0, 0]}), [("a", (-1, 3), "float32")]),
    "dtype policy": (functional([layer("p", [1, 2], POLICY)], ["p", 0, 0]), [("p", (1, 2), "float16")]),
    "keras 2": (
        functional([layer("k", [None, 640], key="batch_input_shape")], [["k", 0, 0]]),
        [("k", (-1, 640), "float32")],
    ),
    "sequential": (sequential(layer("input_layer", [None, 8])), [("input_layer", (-1, 8), "float32")]),
    "sequential, first layer's shape": (
        sequential({"class_name": "Dense", "config": {"name": "d", "batch_input_shape": [None, 5]}}),
        [("d_input", (-1, 5), "float32")],
    ),
    "sequential, built": (sequential(DENSE, build_input_shape=[None, 7]), [("d_input", (-1, 7), "float32")]),
    "sequential, model inside": (sequential(functional([A], ["a", 0, 0])), [("a", (-1, 3), "float32")]),
    "sequential, never built": (sequential(DENSE), None),
    "subclassed": ({"class_name": "MyModel", "config": {"units": 3}}, None),
}


@pytest.mark.parametrize("name", CONFIGS)
def test_keras_configuration(tmp_path: Path, name: str) -> None:
    import h5py

    config, expected = CONFIGS[name]
    archive, hdf5 = tmp_path / "m.keras", tmp_path / "m.h5"
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("config.json", json.dumps(config))
    with h5py.File(hdf5, "w") as file:
        file.attrs["model_config"] = json.dumps(config)
    assert (kind(archive), kind(hdf5)) == ("keras", "h5")
    assert specs(archive) == expected
    assert specs(hdf5) == expected


LAMBDA = {"class_name": "Lambda", "config": {"name": "twice", "function": {"class_name": "__lambda__"}}}


@pytest.mark.parametrize("name", ["m.keras", "m.h5"])
def test_code_in_a_keras_file(tmp_path: Path, name: str) -> None:
    import h5py

    path, config = tmp_path / name, json.dumps(functional([A, LAMBDA], ["a", 0, 0]))
    if name == "m.h5":
        with h5py.File(path, "w") as file:
            file.attrs["model_config"] = config
    else:
        path.write_bytes(zipped(config_dot_json=config))
    with pytest.raises(ModelError, match=r"holds code that would run on this machine \(Lambda layer twice\)"):
        read_inputs(path, None)
    assert read_inputs(path, None, trust=True) == (TensorInfo(name="a", shape=(-1, 3), dtype="float32"),)


def field(number: int, value: bytes | int) -> bytes:
    """A protobuf field, as the wire format's documentation writes it."""
    if isinstance(value, int):
        return varint(number << 3) + varint(value & (2**64 - 1))
    return varint(number << 3 | 2) + varint(len(value)) + value


def varint(value: int) -> bytes:
    out = b""
    while value > 127:
        out, value = out + bytes([value & 127 | 128]), value >> 7
    return out + bytes([value])


def saved_model(folder: Path, *keys: str) -> Path:
    shape = b"".join(field(2, field(1, size)) for size in (-1, 49, 10))
    tensor = field(1, b"x:0") + field(2, 1) + field(3, shape)
    definition = field(1, field(1, b"x") + field(2, tensor))
    entries = b"".join(field(5, field(1, key.encode()) + field(2, definition)) for key in keys)
    folder.mkdir()
    (folder / "saved_model.pb").write_bytes(field(1, 1) + field(2, field(2, bytes(300)) + entries))
    return folder


@pytest.mark.parametrize(
    ("keys", "wanted", "expected"),
    [
        (["__saved_model_init_op", "serving_default", "other"], None, [("x", (-1, 49, 10), "float32")]),
        (["only"], None, [("x", (-1, 49, 10), "float32")]),
        (["a", "b"], "b", [("x", (-1, 49, 10), "float32")]),
        (["__saved_model_init_op"], None, None),
        (["a", "b"], None, "has several signatures (a, b); choose one with model.signature (with init: --signature)"),
        (["a"], "c", "has no signature 'c' (it has: a); correct model.signature"),
    ],
)
def test_saved_model_signatures(tmp_path: Path, keys: list[str], wanted: str | None, expected: object) -> None:
    folder = saved_model(tmp_path / "m", *keys)
    assert kind(folder) == "saved_model"
    if isinstance(expected, str):
        with pytest.raises(ModelError) as caught:
            read_inputs(folder, wanted)
        assert str(caught.value) == f"{folder}: {expected}"
    else:
        assert specs(folder, wanted) == expected


def test_tflite(tmp_path: Path) -> None:
    path = int8_dense(tmp_path / "model.bin")
    assert kind(path) == "tflite", "by content, whatever the name"
    assert specs(path) == [("features", (-1, 4), "int8")]
    with pytest.raises(ModelError, match=r"has no signature 'x' \(it has: serving_default\)"):
        read_inputs(path, "x")


@pytest.mark.parametrize("keys", [("one", "two"), ("two", "serving_default"), ("b", "a")])
def test_tflite_of_several_signatures(tmp_path: Path, keys: tuple[str, str]) -> None:
    """The first runs the second graph; the interpreter runs the main one, under the other's names."""
    tensors = [[T(f"t{graph}"), T(f"u{graph}")] for graph in range(2)]
    graphs = [Graph(two, [two[0].name], [two[1].name], [Op("RELU", [two[0].name], [two[1].name])]) for two in tensors]
    signatures = [Sig(keys[0], {"other": "t1"}, {"o": "u1"}, 1), Sig(keys[1], {"main in": "t0"}, {"main out": "u0"})]
    path = File(graphs, signatures).write(tmp_path / "m.tflite")
    for wanted in (None, keys[1]):
        assert [name for name, _, _ in specs(path, wanted) or ()] == ["main in"]
    runner = Runner(path, "cpu", 1)
    assert ([info.name for info in runner.inputs], [info.name for info in runner.outputs]) == (
        ["main in"],
        ["main out"],
    )
    with pytest.raises(ModelError) as caught:
        read_inputs(path, keys[0])
    assert str(caught.value) == (
        f"{path}: model.signature: of a .tflite only the main graph is taken, which '{keys[0]}' does not run (its "
        f"signature: {keys[1]}); name the SavedModel that the file was made from"
    )


@pytest.mark.parametrize(
    ("layers", "expected"),
    [
        ([{"class_name": "Dense", "config": {"units": 3}}], False),
        ([{"class_name": "Rescaling", "config": {"scale": 1 / 127.5, "offset": -1}}], True),
        ([{"class_name": "Rescaling", "config": {"scale": [1 / 255, 1 / 255, 1 / 200], "offset": 0}}], True),
        ([{"class_name": "Rescaling", "config": {"scale": 2.0, "offset": -1.0}}], False),  # 0..1 to -1..1
        ([{"class_name": "Rescaling", "config": {"scale": 0, "offset": 0}}], True),
        ([{"class_name": "Normalization", "config": {"mean": [[120.0]], "variance": [[3600.0]]}}], True),
        ([{"class_name": "Normalization", "config": {"mean": 0.4, "variance": 0.05}}], False),
        ([{"class_name": "Normalization", "config": {"mean": None, "variance": None}}], None),
        (
            [
                {"class_name": "Normalization", "config": {"mean": None}},
                {
                    "class_name": "Sequential",
                    "config": {"layers": [{"class_name": "Rescaling", "config": {"scale": 0.01}}]},
                },
            ],
            True,
        ),
    ],
)
def test_what_a_keras_model_does_to_its_inputs(layers: list[object], expected: bool | None) -> None:
    assert scales_inputs({"class_name": "Sequential", "config": {"layers": layers}}) is expected


def zipped(**files: str) -> bytes:
    import io

    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, text in files.items():
            archive.writestr(name.replace("__", "/").replace("_dot_", "."), text)
    return out.getvalue()


KERAS = zipped(config_dot_json=json.dumps(sequential(DENSE)) + " " * 500)
REFUSED: list[tuple[str, bytes, str]] = [
    ("m.keras", b"", "is damaged or was not saved as one: it is an empty file; a model is .keras, .h5, "),
    ("m.keras", KERAS[:200], "is a damaged or truncated zip archive"),
    ("m.keras", zipped(a="b"), "is a zip archive without config.json, so no .keras model"),
    ("m.keras", zipped(config_dot_json="{"), "its model configuration is not JSON"),
    ("m.h5", b"\x89HDF\r\n\x1a\n" + bytes(20), "is a damaged or truncated HDF5 file"),
    ("m.h5", b"plain text", "is damaged or was not saved as one: it is a text file"),
    ("m.tflite", b"\x1c\0\0\0TFL3" + bytes(8), "is a truncated or damaged TensorFlow Lite model"),
    ("m.onnx", b"\x08\x07", "is an ONNX model; convert it to a SavedModel first (onnx2tf"),
    ("m.pt", zipped(archive__data_dot_pkl=""), "is a PyTorch model; export it to .tflite"),
    ("m.pth", b"\x80\x02", "is a PyTorch model; export it to .tflite"),
    ("m.zip", zipped(m__saved_model_dot_pb=""), "is a zipped SavedModel; unpack it and give the folder"),
    ("m.npz", zipped(a_dot_npy=""), "is a NumPy .npz archive of arrays"),
    ("saved_model.pb", b"\x08\x01", "give the SavedModel's folder, not the file inside it: "),
    ("frozen.pb", b"\x0a\x01", "is a frozen graph or a lone protobuf; export a SavedModel folder instead"),
    ("photo.png", b"\x89PNG\r\n\x1a\n", "is a PNG image; a model is .keras, .h5, a SavedModel folder or .tflite"),
]


@pytest.mark.parametrize(("name", "content", "said"), REFUSED)
def test_refused(tmp_path: Path, name: str, content: bytes, said: str) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(ModelError) as caught:
        read_inputs(path, None)
    assert str(caught.value).startswith(f"{path}: {said}")


def test_refused_places(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no such file or folder; give a trained model"):
        read_inputs(tmp_path / "absent.keras", None)
    with pytest.raises(ModelError, match=r"is a folder without saved_model\.pb, so no SavedModel; a model is"):
        read_inputs(tmp_path, None)
    int8_dense(tmp_path / "m.tflite")
    with pytest.raises(ModelError, match=r"so no SavedModel; it holds m\.tflite: give one of them"):
        read_inputs(tmp_path, None)


def test_weights_only_and_truncated_saved_model(tmp_path: Path) -> None:
    import h5py

    with h5py.File(tmp_path / "w.h5", "w") as file:
        file["w"] = [1.0]
    with pytest.raises(ModelError, match=r"holds weights without a model \(no model_config\)"):
        read_inputs(tmp_path / "w.h5", None)
    folder = saved_model(tmp_path / "m", "serving_default")
    whole = (folder / "saved_model.pb").read_bytes()
    for content in (whole[:-5], whole[:100], b"", b"\xff" * 40, b"garbage text"):
        (folder / "saved_model.pb").write_bytes(content)
        with pytest.raises(ModelError, match="is damaged or no SavedModel"):
            read_inputs(folder, None)


@pytest.mark.skipif(not DATA.is_dir(), reason=f"no real data at {DATA} (TFLITE_PTQ_REAL_DATA)")
@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("ic/pretrainedResnet.h5", [("input_1", (-1, 32, 32, 3), "float32")]),
        ("kws/kws_ref_model", [("input_1", (-1, 49, 10, 1), "float32")]),
        ("vww/vww_96.h5", [("input_1", (-1, 96, 96, 3), "float32")]),
        ("ad/ad01.h5", [("input_1", (-1, 640), "float32")]),
        ("sww/str_ww_ref_model.h5", [("input_1", (-1, 30, 1, 40), "float32")]),
        ("kws/kws_ref_model.tflite", [("input_1", (-1, 49, 10, 1), "int8")]),
    ],
)
def test_real_models(name: str, expected: Spec) -> None:
    assert specs(DATA / "mlperf_tiny" / name) == expected


def test_saved_model_and_keras_need_neither_tensorflow_nor_numpy(tmp_path: Path) -> None:
    folder, archive = saved_model(tmp_path / "m", "serving_default"), tmp_path / "m.keras"
    archive.write_bytes(KERAS)
    code = (
        "import sys; from pathlib import Path; from tflite_ptq.model.signature import read_inputs\n"
        f"read_inputs(Path({str(folder)!r}), None); read_inputs(Path({str(archive)!r}), None)\n"
        "print([m for m in ('tensorflow', 'keras', 'h5py', 'numpy') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
