"""Model file or folder -> exact message, exit code 3."""

from __future__ import annotations

import json
import re
import shutil
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from conftest import Command
from tiny_tflite import File, Graph, Op, Sig, T, int8_dense

from tflite_ptq.errors import ModelError
from tflite_ptq.recipe.schema import Model
from tflite_ptq.worker.messages import Opened, OpenSource
from tflite_ptq.worker.process import Worker

SUPPORTED = ".keras, .h5, a SavedModel folder or .tflite"


@pytest.fixture(scope="module")
def converter(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Worker]:
    worker = Worker("tflite_ptq.worker.converter", tmp_path_factory.mktemp("log") / "log.txt", 60)
    yield worker
    worker.kill()


def cut(source: Path, target: Path, share: float) -> None:
    """The first part of a file; of a SavedModel, of its graph."""
    if source.is_dir():
        shutil.copytree(source, target)
        source, target = source / "saved_model.pb", target / "saved_model.pb"
    data = source.read_bytes()
    target.write_bytes(data[: int(len(data) * share)])


def foreign(data: bytes) -> Callable[[Path], object]:
    return lambda path: path.write_bytes(data)


# (file name, how it is made, the message with {path})
WITHOUT_TENSORFLOW: list[tuple[str, Callable[[Path], object], str]] = [
    ("m.keras", lambda path: None, f"{{path}}: no such file or folder; give a trained model ({SUPPORTED})"),
    (
        "m.keras",
        foreign(b""),
        f"{{path}}: is damaged or was not saved as one: it is an empty file; a model is {SUPPORTED}",
    ),
    (
        "m.h5",
        foreign(b"<!DOCTYPE html><title>404</title>"),
        f"{{path}}: is damaged or was not saved as one: it is an HTML page; a model is {SUPPORTED}",
    ),
    (
        "m.tflite",
        foreign(b"version https://git-lfs.github.com/spec/v1\n"),
        "{path}: is damaged or was not saved as one: it is a Git LFS pointer (run `git lfs pull` to fetch the model "
        f"itself); a model is {SUPPORTED}",
    ),
    (
        "m.onnx",
        foreign(b"\x08\x07\x12\x07pytorch"),
        "{path}: is an ONNX model; convert it to a SavedModel first (onnx2tf -i model.onnx -o folder)",
    ),
    (
        "m.pb",
        foreign(b"\x0a\x40"),
        "{path}: is a frozen graph or a lone protobuf; export a SavedModel folder instead",
    ),
    (
        "m.npz",
        lambda path: np.savez(path, a=np.zeros(3)),
        f"{{path}}: is a NumPy .npz archive of arrays; a model is {SUPPORTED}",
    ),
    (
        "folder",
        lambda path: path.mkdir(),
        f"{{path}}: is a folder without saved_model.pb, so no SavedModel; a model is {SUPPORTED}",
    ),
]


@pytest.mark.parametrize(("name", "make", "message"), WITHOUT_TENSORFLOW)
def test_missing_and_foreign(
    name: str, make: Callable[[Path], object], message: str, check: Command, write_recipe: Callable[..., Path]
) -> None:
    recipe = write_recipe(name)
    make(recipe.parent / name)
    ended = check(recipe)
    assert (ended.code, ended.err) == (3, f"error: {message.format(path=recipe.parent / name)}\n")


TRUNCATED = [
    ("tiny.keras", "{path}: is a damaged or truncated zip archive (File is not a zip file); save or copy it again"),
    ("tiny.h5", "{path}: is a damaged or truncated HDF5 file ("),
    ("tiny_saved", "{path}/saved_model.pb: is damaged or no SavedModel ("),
    ("tiny.tflite", "{path}: "),
]


@pytest.mark.slow
@pytest.mark.parametrize("share", [0.1, 0.5, 0.95])
@pytest.mark.parametrize(("name", "start"), TRUNCATED)
def test_truncated(
    name: str, start: str, share: float, models: Path, check: Command, write_recipe: Callable[..., Path]
) -> None:
    recipe = write_recipe(name)
    cut(models / name, recipe.parent / name, share)
    ended = check(recipe)
    assert ended.code == 3, ended.err
    assert ended.message.startswith(start.format(path=recipe.parent / name)), ended.err
    assert "\n" not in ended.message


def with_cut_weights(models: Path, target: Path) -> None:
    with zipfile.ZipFile(models / "tiny.keras") as whole, zipfile.ZipFile(target, "w") as archive:
        for name in whole.namelist():
            archive.writestr(name, whole.read(name)[:200] if name.endswith(".h5") else whole.read(name))


def with_cut_variables(models: Path, target: Path) -> None:
    shutil.copytree(models / "tiny_saved", target)
    (file,) = (target / "variables").glob("*data*")
    file.write_bytes(file.read_bytes()[:50])


def as_it_is(name: str) -> Callable[[Path, Path], None]:
    def copy(models: Path, target: Path) -> None:
        (shutil.copytree if (models / name).is_dir() else shutil.copy)(models / name, target)

    return copy


# (how it is made, more of the recipe's model, the message with {path}; "..." stands for a library's words)
Faulty = list[tuple[Callable[[Path, Path], None], dict[str, object], str]]
ONLY_TENSORFLOW_KNOWS: Faulty = [
    (with_cut_weights, {}, "{path}: the model is damaged or cut short (...); save or copy it again"),
    (with_cut_variables, {}, "{path}: TensorFlow cannot load this SavedModel: ...; export or copy it again"),
]
CHECK_KNOWS_TOO: Faulty = [
    (
        as_it_is("lambda.keras"),
        {},
        "{path}: the file holds code that would run on this machine (Lambda layer twice); if you trust where it comes "
        "from, say so in the recipe: model: {{trust: true}} (with init: --trust)",
    ),
    (
        as_it_is("open"),
        {},
        "{path}: input 'x' has unknown dimensions: [?, ?, 2]; fix it in the recipe: model: {{inputs: {{x: {{shape: [1, "
        "...]}}}}}}",
    ),
    (
        as_it_is("open"),
        {"inputs": {"y": {"shape": [1, 3, 2]}}},
        "{path}: input 'x' has unknown dimensions: [?, ?, 2]; fix it in the recipe: model: {{inputs: {{x: {{shape: [1, "
        "...]}}}}}}",
    ),
    (
        as_it_is("open"),
        {"inputs": {"x": {"shape": [1, 3, 5]}}},
        "{path}: model.inputs.x.shape: the recipe says [1, 3, 5], the model takes [?, ?, 2]; keep the known dimensions",
    ),
    (
        as_it_is("tiny.keras"),
        {"inputs": {"img": {"shape": [1, 8, 8, 1]}}},
        "{path}: model.inputs: the model has no input 'img' (image)",
    ),
]


@pytest.mark.slow
@pytest.mark.parametrize(("make", "more", "message"), ONLY_TENSORFLOW_KNOWS + CHECK_KNOWS_TOO)
def test_what_opening_the_model_shows(
    make: Callable[[Path, Path], None],
    more: dict[str, object],
    message: str,
    models: Path,
    tmp_path: Path,
    converter: Worker,
) -> None:
    """The converter's answer: what ``convert`` prints, with exit code 3."""
    path = tmp_path / ("model.keras" if make is with_cut_weights else "model")
    make(models, path)
    request = OpenSource(model=Model.model_validate({"path": str(path), **more}), folder=str(tmp_path / "exported"))
    with pytest.raises(ModelError) as caught:
        converter.ask(request, Opened, "open the model")
    expected = re.escape(message.format(path=path)).replace(re.escape("..."), ".+")
    assert re.fullmatch(expected, str(caught.value)), str(caught.value)
    assert caught.value.exit_code == 3


@pytest.mark.slow
@pytest.mark.parametrize(("make", "more", "message"), CHECK_KNOWS_TOO)
def test_check_says_it_without_tensorflow(
    make: Callable[[Path, Path], None],
    more: dict[str, object],
    message: str,
    models: Path,
    tmp_path: Path,
    check: Command,
    write_recipe: Callable[..., Path],
) -> None:
    make(models, tmp_path / "model")
    recipe = write_recipe("model")
    data = json.loads(recipe.read_text(encoding="utf-8"))
    data["model"].update(more)
    recipe.write_text(json.dumps(data), encoding="utf-8")
    ended = check(recipe)
    assert (ended.code, ended.err) == (3, f"error: {message.format(path=tmp_path / 'model')}\n")


def test_an_open_tflite(tmp_path: Path, run: Command, write_recipe: Callable[..., Path]) -> None:
    """Its own shapes cannot be fixed: what lies inside was made for those it was converted with."""
    graph = Graph([T("in", shape_signature=(-1, -1)), T("out")], ["in"], ["out"], [Op("RELU", ("in",), ("out",))])
    path = File([graph], [Sig("serving_default", {"x": "in"}, {"y": "out"})]).write(tmp_path / "open.tflite")
    message = (
        f"{path}: input 'x' has unknown dimensions: [?, ?]; a .tflite is taken as it stands: name the model that it "
        "was made from, or convert that again with fixed shapes"
    )
    for command in ("check", "convert", "init"):
        ended = run(command, path, "-o", "new.yaml") if command == "init" else run(command, write_recipe(path))
        assert (ended.code, ended.err) == (3, f"error: {message}\n"), command


def test_a_quantized_tflite_is_no_source(tmp_path: Path, run: Command, write_recipe: Callable[..., Path]) -> None:
    path = int8_dense(tmp_path / "q.tflite")
    message = (
        f"{path}: the model is already quantized (1 int32 tensors with scales, 3 int8 tensors with scales); name the "
        "float model it was made from"
    )
    for command in ("check", "convert", "init"):
        ended = run(command, path, "-o", "new.yaml") if command == "init" else run(command, write_recipe(path))
        assert (ended.code, ended.err) == (3, f"error: {message}\n"), command


def test_wrong_signature(models: Path, check: Command, write_recipe: Callable[..., Path]) -> None:
    recipe = write_recipe(models / "sine")
    ended = check(recipe, "--set", "model.signature=predict")
    message = f"{models}/sine: has no signature 'predict' (it has: serving_default); correct model.signature"
    assert (ended.code, ended.err) == (3, f"error: {message}\n")


def test_a_tflite_source_cannot_be_quantized(
    relu: Path, tmp_path: Path, run: Command, check: Command, write_recipe: Callable[..., Path]
) -> None:
    """float32 is audited all the same."""
    ended = check(write_recipe(relu, variants=["float16", "dynamic"]))
    assert ended.code == 4
    assert ended.message.startswith("float16, dynamic: need the source model: TFLiteConverter cannot read a .tflite; ")
    ended = run("convert", write_recipe(relu, variants=["dynamic"]), "--output", "out", "-q")
    message = (
        "dynamic: needs the source model: TFLiteConverter cannot read a .tflite; name the .keras, .h5 or SavedModel as "
        f"model.path instead of {relu}"
    )
    assert (ended.code, ended.err) == (4, f"error: {message}\n")
    assert (tmp_path / "out" / "float32.tflite").read_bytes() == relu.read_bytes()
