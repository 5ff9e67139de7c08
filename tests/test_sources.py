"""Every kind of source model, opened and converted as a run does it, against what the model itself computes."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import source_models as models
from conftest import Command
from numpy.typing import NDArray
from source_models import Builder, N, Source
from tiny_tflite import int8_dense

from tflite_ptq.errors import ConversionError, ModelError
from tflite_ptq.model.flatbuffer import describe
from tflite_ptq.model.input_shapes import fixed_inputs
from tflite_ptq.model.interpreter import Runner
from tflite_ptq.model.signature import read_inputs
from tflite_ptq.recipe.dataset import Dataset
from tflite_ptq.recipe.schema import Model, Variant
from tflite_ptq.worker.messages import Convert, Converted, Opened, OpenSource
from tflite_ptq.worker.process import Worker

pytestmark = pytest.mark.slow
Array = NDArray[Any]


@pytest.fixture(scope="module")
def child(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Worker]:
    worker = Worker("tflite_ptq.worker.converter", tmp_path_factory.mktemp("child") / "log.txt", 120)
    worker.start()
    yield worker
    worker.close()


@pytest.fixture(autouse=True)
def _same_weights() -> None:
    import keras

    keras.utils.set_random_seed(0)  # Python's, numpy's and TensorFlow's: tf-keras draws from the same


class Made:
    """A source opened by the converter child, ready to make variants of."""

    def __init__(self, child: Worker, source: Source, folder: Path) -> None:
        self.child, self.source, self.folder = child, source, folder
        self.model = Model.model_validate({"path": str(source.path), **source.model})
        self.opened = child.ask(OpenSource(model=self.model, folder=str(folder / "export")), Opened, "open")
        np.savez(folder / "samples.npz", **source.inputs)

    def make(self, variant: Variant | None) -> Path:
        target = self.folder / f"{variant.name if variant else 'float32'}.tflite"
        samples = {"format": {"type": "npz"}, "calibration": {"path": str(self.folder / "samples.npz"), "samples": N}}
        request = Convert(
            saved_model=str(self.folder / "export"),
            variant=variant,
            inputs=self.opened.inputs,
            dataset=Dataset.model_validate(samples),
            target=str(target),
            yardstick=str(self.folder / "float32.tflite") if variant else None,
        )
        self.child.ask(request, Converted, target.stem)
        return target

    def outputs(self, file: Path) -> dict[str, Array]:
        """Real outputs of the N samples, stacked, by name."""
        runner = Runner(file, "cpu", 1)
        inputs = self.source.inputs
        runs = [runner.run({name: inputs[name][i : i + 1] for name in inputs}) for i in range(N)]
        return {name: np.concatenate([run[name] for run in runs]) for name in runs[0]}


def sqnr_db(want: Array, got: Array) -> float:
    return float(10 * np.log10(np.sum(want**2) / max(np.sum((want - got) ** 2), 1e-30)))


SOURCES: list[Builder] = [
    models.keras3_functional,
    models.keras3_sequential,
    models.keras3_sequential_built_by_data,
    models.keras3_two_in_two_out,
    models.keras3_dicts,
    models.keras3_h5,
    models.keras3_export,
    models.keras3_unrolled_lstm,
    models.keras2_keras,
    models.keras2_h5,
    models.keras2_saved_model,
    models.keras2_lstm,
    models.module,
    models.module_open_length,
    models.module_signatures,
    models.keras3_lambda,
    models.embedding,
    models.rescaling,
    models.conv1d,
    models.batch_norm_head,
    models.keras3_mixed_precision,
    models.keras3_nested_outputs,
    models.keras2_subclassed,
    models.keras2_lambda_saved_model,
]
LOOPS = (
    "TensorFlow Lite has no integer kernel for loops and branches (WHILE); build recurrent layers (LSTM, GRU, RNN) "
    "with unroll=True, or use scheme dynamic or float16"
)
UNQUANTIZABLE: list[tuple[Builder, str | dict[str, object], str]] = [
    (build, scheme, message)
    for build in (models.keras3_lstm, models.keras3_gru, models.keras2_gru)
    for scheme, message in (
        ("dynamic", ""),
        ("int8", f"int8: {LOOPS}"),
        # The converter would crash at them.
        ({"scheme": "int8", "name": "mixed", "float_fallback": True}, f"mixed: {LOOPS}"),
    )
] + [
    (
        models.keras2_lstm,
        "int16x8",
        "int16x8: operators without an integer kernel: UNIDIRECTIONAL_SEQUENCE_LSTM; ",
    ),
    (models.sine, "int8", "int8: operators without an integer kernel: SIN ("),
]


@pytest.mark.parametrize("build", SOURCES, ids=lambda build: build.__name__)
def test_source(build: Builder, child: Worker, tmp_path: Path) -> None:
    made = Made(child, build(tmp_path), tmp_path)
    source = made.source
    assert {info.name for info in made.opened.inputs} == set(source.inputs)
    without_tensorflow = read_inputs(source.path, made.model.signature, trust=made.model.trust)
    assert without_tensorflow is not None
    by_name = sorted(fixed_inputs(made.model, without_tensorflow), key=lambda info: info.name)
    assert by_name == sorted(made.opened.inputs, key=lambda info: info.name), "what check compares samples with"
    assert {info.name for info in made.opened.outputs} == set(source.outputs)
    for info in made.opened.inputs:
        assert info.shape == (1, *source.inputs[info.name].shape[1:])
        assert info.dtype == source.inputs[info.name].dtype.name
    for info in made.opened.outputs:
        assert info.shape == (1, *source.outputs[info.name].shape[1:])

    floats = made.outputs(made.make(None))
    assert set(floats) == set(source.outputs)
    for name, want in source.outputs.items():
        tolerance = 1e-2 if build is models.keras3_mixed_precision else 1e-5  # the model itself computes in float16
        np.testing.assert_allclose(floats[name], want, rtol=tolerance, atol=tolerance, err_msg=name)

    for variant in (Variant(scheme="dynamic", name="dynamic"), Variant(scheme="int8", name="int8")):
        got = made.outputs(made.make(variant))
        for name, want in source.outputs.items():
            assert sqnr_db(want, got[name]) > 20, (variant.name, name)


def test_python_that_decides_by_a_tensor_is_traced(tmp_path: Path) -> None:
    """A layer may hold Python ifs on tensors, which only AutoGraph can trace."""
    import tensorflow as tf

    from tflite_ptq.model import source

    def call(tensors: Any) -> Any:
        (x,) = tensors
        if tf.reduce_sum(x) > 0:  # noqa: SIM108
            y = x + 1
        else:
            y = x - 1
        return {"y": y}

    opened = source._Callable(("x",), (tf.TensorSpec((None, 2), tf.float32),), call, ())
    source._save(opened, Model(path="m.keras"), tmp_path / "saved")
    served = tf.saved_model.load(str(tmp_path / "saved")).signatures["serving_default"]
    found = [served(x=tf.constant([[float(x), 1.0]]))["y"].numpy().tolist() for x in (3, -3)]
    assert found == [[[4.0, 2.0]], [[-4.0, 0.0]]]


@pytest.mark.parametrize(("build", "scheme", "message"), UNQUANTIZABLE)
def test_what_the_converter_cannot_quantize(
    build: Builder, scheme: str | dict[str, object], message: str, child: Worker, tmp_path: Path
) -> None:
    made = Made(child, build(tmp_path), tmp_path)
    floats = made.outputs(made.make(None))
    for name, want in made.source.outputs.items():
        np.testing.assert_allclose(floats[name], want, rtol=1e-5, atol=1e-5, err_msg=name)
    variant = Variant.model_validate(scheme)
    if not message:
        assert made.make(variant).is_file()
        return
    with pytest.raises(ConversionError) as raised:
        made.make(variant)
    assert str(raised.value).startswith(message)
    assert not (tmp_path / f"{variant.name}.tflite").exists()


REFUSED: list[tuple[Builder, dict[str, object], str]] = [
    (
        models.module_open_length,
        {},
        "input 'frames' has unknown dimensions: [?, ?, 5]; fix it in the recipe: model: {inputs: {frames: {shape: "
        "[1, ...]}}}",
    ),
    (
        models.module_open_length,
        {"inputs": {"frames": {"shape": [1, 7, 6]}}},
        "model.inputs.frames.shape: the recipe says [1, 7, 6], the model takes [?, ?, 5]; keep the known dimensions",
    ),
    (
        models.module,
        {"inputs": {"frame": {"shape": [1, 7, 5]}}},
        "model.inputs: the model has no input 'frame' (frames)",
    ),
    (models.module_signatures, {}, "which signature? set model.signature in the recipe (average, other)"),
    (
        models.module_signatures,
        {"signature": "mean"},
        "model.signature: there is no signature 'mean' in this SavedModel (average, other)",
    ),
    (
        models.keras3_lambda,
        {},
        "the file holds code that would run on this machine (Lambda layer twice); if you trust where it comes from, "
        "say so in the recipe: model: {trust: true} (with init: --trust)",
    ),
    (
        models.keras3_own_layer,
        {},
        "cannot be loaded (keras: Keras has no layer 'Mine'); if it has layers of your own, export it as a SavedModel "
        "(model.export(folder)) and name that folder as model.path",
    ),
    (
        models.keras3_never_built,
        {},
        "the model was saved without an input shape, so it cannot be traced; call it once on data (or add an Input "
        "layer) before saving",
    ),
]


@pytest.mark.parametrize(("build", "model", "message"), REFUSED)
def test_refused(build: Builder, model: dict[str, object], message: str, child: Worker, tmp_path: Path) -> None:
    source = replace(build(tmp_path), model=model)
    with pytest.raises(ModelError) as raised:
        Made(child, source, tmp_path)
    assert str(raised.value) == f"{source.path}: {message}"


@pytest.fixture(scope="module")
def conv_and_dense(child: Worker, tmp_path_factory: pytest.TempPathFactory) -> Made:
    folder = tmp_path_factory.mktemp("settings")
    made = Made(child, models.keras3_functional(folder), folder)
    made.make(None)
    return made


# (settings, dtype of input and output, scales of the weights of the convolution (4 channels) and the dense layer (3))
SETTINGS: list[tuple[dict[str, object], str, int, int]] = [
    ({"scheme": "int8"}, "float32", 4, 3),
    ({"scheme": "int8", "io": "int8"}, "int8", 4, 3),
    ({"scheme": "int8", "io": "uint8"}, "uint8", 4, 3),
    ({"scheme": "int8", "per_channel": False}, "float32", 1, 1),
    ({"scheme": "int8", "per_channel_dense": False}, "float32", 4, 1),
    ({"scheme": "int8", "per_channel": False, "per_channel_dense": False, "io": "int8"}, "int8", 1, 1),
    ({"scheme": "int8", "float_fallback": True}, "float32", 4, 3),
    ({"scheme": "int8", "float_fallback": True, "io": "uint8"}, "uint8", 4, 3),
    ({"scheme": "int16x8"}, "float32", 4, 3),
    ({"scheme": "int16x8", "io": "int16"}, "int16", 4, 3),
]


@pytest.mark.parametrize(("settings", "io", "conv", "dense"), SETTINGS)
def test_settings(settings: dict[str, object], io: str, conv: int, dense: int, conv_and_dense: Made) -> None:
    file = conv_and_dense.make(Variant.model_validate({**settings, "name": "v"}))
    found = describe(file)
    assert [info.dtype for info in (*found.inputs, *found.outputs)] == [io, io]
    weights = {op.name: op.inputs[1] for op in found.subgraphs[0].operators if len(op.inputs) == 3}
    counts = {name: len(tensor.scale) for name, tensor in weights.items() if tensor is not None}
    assert counts == {"CONV_2D": conv, "FULLY_CONNECTED": dense}
    assert all(tensor is not None and tensor.dtype == "int8" for tensor in weights.values())
    got = conv_and_dense.outputs(file)["scores"]
    assert sqnr_db(conv_and_dense.source.outputs["scores"], got) > 20


def test_float_fallback_leaves_what_has_no_integer_kernel_in_float(child: Worker, tmp_path: Path) -> None:
    made = Made(child, models.sine(tmp_path), tmp_path)
    made.make(None)
    file = made.make(Variant(scheme="int8", name="v", float_fallback=True))
    operators = {op.name: op for op in describe(file).subgraphs[0].operators}
    assert operators["SIN"].outputs[0].dtype == "float32"
    assert operators["FULLY_CONNECTED"].outputs[0].dtype == "int8"
    assert sqnr_db(made.source.outputs["y"], made.outputs(file)["y"]) > 20


def test_integer_inputs_in_int16x8(tmp_path: Path, run: Command, write_recipe: Callable[..., Path]) -> None:
    """TFLiteConverter asks for the range of an index and gives up."""
    source = models.embedding(tmp_path)
    (tmp_path / "ids").mkdir()
    for i, row in enumerate(source.inputs["ids"]):
        np.save(tmp_path / "ids" / f"{i}.npy", row)
    samples = {"path": str(tmp_path / "ids")}
    dataset = {"format": {"type": "npy"}, "calibration": {**samples, "samples": N // 2}, "evaluation": samples}
    recipe = write_recipe(source.path, dataset, [{"scheme": "int16x8", "io": "int16"}])
    ended = run("convert", recipe, "--json")
    assert ended.code == 0, ended.err
    made = json.loads(ended.out)["variants"][1]
    assert made["audit"]["fully_integer"] is True and made["audit"]["input_dtypes"] == {"ids": "int32"}
    assert made["fidelity"]["sqnr_db"] > 20  # a handful of samples gives the ranges

    ended = run("convert", recipe, "-q", "--set", "dataset.calibration.engine=tflite")
    assert ended.code == 4
    assert ": TFLiteConverter makes no int16x8 model with integer inputs (" in ended.err


FLOAT_TFLITE: list[tuple[list[str], int]] = [([], 0), (["dynamic", "int8"], 4)]


@pytest.mark.parametrize(("variants", "code"), FLOAT_TFLITE)
def test_float_tflite_is_measured_as_it_stands(
    variants: list[str], code: int, relu: Path, vectors: Path, write_recipe: Callable[..., Path], run: Command
) -> None:
    subset = {"path": str(vectors), "samples": 4}
    dataset = {"format": {"type": "npy"}, "calibration": subset, "evaluation": subset}
    recipe = write_recipe(relu, dataset, variants, benchmark={"accuracy": {"metrics": ["reconstruction_mse"]}})
    ended = run("convert", recipe, "-q")
    assert ended.code == code, ended.err
    report = json.loads((recipe.parent / "out/t/report.json").read_text())
    assert report["model"]["format"] == "tflite"
    assert (recipe.parent / "out/t/float32.tflite").read_bytes() == relu.read_bytes()
    yardstick, *others = report["variants"]
    figures = {name: (metric["value"], metric["change"]) for name, metric in yardstick["accuracy"].items()}
    assert figures == {"reconstruction_mse": (0.0, None)}  # relu(x) = x for these
    assert {entry["delegate"] for entry in yardstick["latency"]} == {"cpu", "xnnpack"}
    # Integer schemes need no more than the ranges; dynamic range and float16 are the converter's own.
    needs = (
        "dynamic: needs the source model: TFLiteConverter cannot read a .tflite; name the .keras, .h5 or SavedModel as "
        f"model.path instead of {relu}"
    )
    assert [v["error"] for v in others] == [needs, None][: len(variants)]
    assert [v["audit"]["fully_integer"] for v in others if v["error"] is None] == [True] * (len(variants) // 2)


def test_quantized_tflite_is_refused(tmp_path: Path, write_recipe: Callable[..., Path], run: Command) -> None:
    model = int8_dense(tmp_path / "dense.tflite")
    ended = run("convert", write_recipe(model), "-q")
    assert ended.code == 3
    assert ended.message.startswith(f"{model}: the model is already quantized (")
    assert ended.message.endswith("); name the float model it was made from")
