"""What is wrong with samples, labels or what a model makes of them -> exact message, exit code."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import Command
from PIL import Image
from tiny_tflite import File, Graph, Op, T

Recipe = Callable[..., Path]

NOT_FINITE = (
    "{file}: input 'x': 2 of 4 values are not finite (1 NaN, 1 infinity in float32); correct or remove the file, or "
    "set dataset.on_bad_sample to skip"
)
# (what lies at 00.npy, the message with {file})
BAD_ARRAYS: list[tuple[object, str]] = [
    (np.array([1, np.nan, -np.inf, 2], np.float32), NOT_FINITE),
    (np.array([1, np.nan, np.inf, 2], np.float64), NOT_FINITE),
    (
        np.zeros(5, np.float32),
        "{file}: input 'x': expected shape (4,) float32, got (5,) float32; store the samples in the model's shape, or "
        "give the input another shape under model.inputs",
    ),
    (
        np.zeros((2, 2), np.float32),
        "{file}: input 'x': expected shape (4,) float32, got (2, 2) float32; reshape the samples to (4,)",
    ),
    (
        np.array(["a", "b", "c", "d"]),
        "{file}: input 'x': expected float32, got str32; write the sample with a numeric dtype",
    ),
    (
        np.zeros(4, np.complex64),
        "{file}: input 'x': expected float32, got complex64; write the sample with a numeric dtype",
    ),
    (b"", "{file}: cannot be read: No data left in file; write the file again or remove it"),
    (
        b"hello, I am a text",
        "{file}: cannot be read: it is no .npy file, or holds pickled Python objects; write the file again or remove "
        "it",
    ),
    (
        np.array([{}, None], dtype=object),
        "{file}: cannot be read: it is no .npy file, or holds pickled Python objects; write the file again or remove "
        "it",
    ),
]


def put(file: Path, content: object) -> None:
    if isinstance(content, bytes):
        file.write_bytes(content)
    else:
        np.save(file, np.asarray(content), allow_pickle=True)


def npy(folder: Path, **more: object) -> dict[str, object]:
    labels = {"labels": more.pop("labels")} if "labels" in more else {}
    return {"format": {"type": "npy"}, "evaluation": {"path": str(folder), **labels}, **more}


@pytest.mark.parametrize(("content", "message"), BAD_ARRAYS)
def test_bad_arrays(
    content: object, message: str, relu: Path, vectors: Path, check: Command, write_recipe: Recipe
) -> None:
    put(vectors / "00.npy", content)
    ended = check(write_recipe(relu, npy(vectors)))
    assert (ended.code, ended.err) == (3, f"error: {message.format(file=vectors / '00.npy')}\n")


@pytest.mark.parametrize("name", [b"caf\xe9.npy", b"\xff/a.npy"])
def test_a_name_that_is_no_text(
    name: bytes, relu: Path, vectors: Path, tmp_path: Path, run: Command, write_recipe: Recipe
) -> None:
    file = vectors / os.fsdecode(name)
    try:
        file.parent.mkdir(exist_ok=True)
        shutil.copy(vectors / "00.npy", file)
    except OSError:
        pytest.skip("this file system takes names in UTF-8 only")
    recipe = write_recipe(relu, {"format": {"type": "npy"}, "evaluation": {"path": str(vectors)}})
    shown = name.decode(errors="backslashreplace")
    message = f"{vectors}/{shown}: the file's name is not UTF-8; rename it (convmv does many at once)"
    for command in ("check", "convert"):
        ended = run(command, recipe)
        assert (ended.code, ended.message) == (3, message)


def test_a_truncated_array(relu: Path, vectors: Path, check: Command, write_recipe: Recipe) -> None:
    file = vectors / "00.npy"
    file.write_bytes(file.read_bytes()[:-4])
    ended = check(write_recipe(relu, npy(vectors)))
    assert ended.code == 3 and ended.message.startswith(f"{file}: cannot be read: "), ended.err
    assert ended.message.endswith("; write the file again or remove it")


# (format, files in the folder, the message with {folder})
BAD_FOLDERS: list[tuple[str, list[str] | None, str]] = [
    ("npy", None, "{folder}: no such file or folder; correct dataset.evaluation.path"),
    (
        "npy",
        [],
        "{folder}: no npy files found (looked for .npy; it holds no other files either); correct "
        "dataset.evaluation.path or dataset.format.type",
    ),
    (
        "image",
        ["a.npy", "b.txt"],
        "{folder}: no image files found (looked for .jpg, .jpeg, .png, .bmp, .webp; 2 other files lie there (1 .npy, 1 "
        ".txt)); correct dataset.evaluation.path or dataset.format.type",
    ),
]


@pytest.mark.parametrize(("kind", "files", "message"), BAD_FOLDERS)
def test_folders_without_samples(
    kind: str,
    files: list[str] | None,
    message: str,
    tmp_path: Path,
    relu: Path,
    check: Command,
    write_recipe: Recipe,
) -> None:
    folder = tmp_path / "samples"
    if files is not None:
        folder.mkdir()
        for name in files:
            (folder / name).touch()
    dataset = {"format": {"type": kind}, "evaluation": {"path": str(folder)}}
    ended = check(write_recipe(relu, dataset))
    assert (ended.code, ended.err) == (3, f"error: {message.format(folder=folder)}\n")


RIGHT = [f"{i:02}.npy,{i % 4}" for i in range(12)]
# (the CSV's rows, more of the dataset, the message with {csv} and {folder})
BAD_LABELS: list[tuple[list[str], dict[str, object], str]] = [
    (
        [*RIGHT, "12.npy,0"],
        {},
        "{csv}:13: 1 row names a file that does not exist: '12.npy'; correct the rows or add the files below {folder}",
    ),
    (
        RIGHT[:10],
        {},
        "{csv}: 2 of 12 samples have no label: '10.npy', '11.npy'; add their rows, or move the files away",
    ),
    (
        [*RIGHT, "03.npy,1"],
        {},
        "{csv}:13: '03.npy' has class 1 here and 3 on line 4; keep one",
    ),
    (
        [*RIGHT[:11], "11.npy,cat"],
        {},
        "{csv}:12: class 'cat' is not a number; list the class names under dataset.classes or correct "
        "labels.class_column",
    ),
    (
        RIGHT,
        {"classes": ["a", "b", "c"]},
        "{csv}:4: class 3 is out of range 0..2 of dataset.classes; correct the line or list all classes",
    ),
    ([], {}, "{csv}: holds no labels; write one row a sample"),
]


@pytest.mark.parametrize(("rows", "more", "message"), BAD_LABELS)
def test_bad_labels(
    rows: list[str],
    more: dict[str, object],
    message: str,
    tmp_path: Path,
    relu: Path,
    vectors: Path,
    check: Command,
    write_recipe: Recipe,
) -> None:
    csv = tmp_path / "labels.csv"
    csv.write_text("\n".join(rows), encoding="utf-8")
    ended = check(write_recipe(relu, npy(vectors, labels=str(csv), **more)))
    assert (ended.code, ended.err) == (3, f"error: {message.format(csv=csv, folder=vectors)}\n")


# (the classes of the CSV, the first sample out of range, its class); the model has 4 outputs
@pytest.mark.parametrize(("modulo", "file", "label"), [(5, "04.npy", 4), (-3, "01.npy", -2)])
def test_classes_that_the_model_has_not(
    modulo: int,
    file: str,
    label: int,
    tmp_path: Path,
    relu: Path,
    vectors: Path,
    run: Command,
    write_recipe: Recipe,
) -> None:
    csv = tmp_path / "labels.csv"
    csv.write_text("\n".join(f"{i:02}.npy,{i % modulo}" for i in range(12)), encoding="utf-8")
    ended = run("convert", write_recipe(relu, npy(vectors, labels=str(csv))), "--output", tmp_path / "out")
    message = (
        f"{vectors / file}: label {label} is out of range: the output has 4 classes (0 to 3); correct the labels or "
        "dataset.classes"
    )
    assert (ended.code, ended.err) == (3, f"error: {message}\n")
    found = json.loads((tmp_path / "out" / "report.json").read_text(encoding="utf-8"))
    assert found["status"] == "error" and found["errors"] == [message]
    assert found["variants"][0]["file"] == "float32.tflite"


def test_a_bad_sample_among_good_ones(
    tmp_path: Path, relu: Path, vectors: Path, run: Command, write_recipe: Recipe
) -> None:
    """Stops and names it; or skips it and lists it."""
    file = vectors / "07.npy"
    put(file, np.array([1, np.nan, np.inf, 2], np.float32))
    message = NOT_FINITE.format(file=file)
    ended = run("convert", write_recipe(relu, npy(vectors)), "--output", tmp_path / "out")
    assert (ended.code, ended.err) == (3, f"error: {message}\n")
    skipping = write_recipe(relu, npy(vectors, on_bad_sample="skip"))
    ended = run("convert", skipping, "--output", tmp_path / "out", "--json")
    assert ended.code == 0, ended.err
    assert json.loads(ended.out)["dataset"]["skipped"] == [{"sample": "07.npy", "reason": message}]
    for other in vectors.iterdir():
        shutil.copy(file, other) if other != file else None
    ended = run("convert", skipping, "--output", tmp_path / "out")
    first = NOT_FINITE.format(file=vectors / "00.npy")
    assert (ended.code, ended.err) == (3, f"error: all 12 samples were skipped; the first: {first}\n")


def test_the_default_metric_that_does_not_fit_is_no_error(
    tmp_path: Path, vectors: Path, run: Command, write_recipe: Recipe
) -> None:
    """``top1`` is tried where samples are labelled; only who asks for it must have it."""
    ops = [Op("NEG", ["x"], ["a"]), Op("ABS", ["x"], ["b"])]
    two = File([Graph([T("x"), T("a"), T("b")], ["x"], ["a", "b"], ops)]).write(tmp_path / "two.tflite")
    (tmp_path / "labels.csv").write_text("".join(f"{i:02}.npy,{i % 4}\n" for i in range(12)))
    recipe = write_recipe(two, npy(vectors, evaluation={"path": str(vectors), "labels": str(tmp_path / "labels.csv")}))
    ended = run("convert", recipe, "--output", tmp_path / "out", "--json")
    assert ended.code == 0, ended.err
    (said,) = json.loads(ended.out)["warnings"]
    assert said.startswith("metric top1: the model has 2 outputs (a, b); say which one is scored")
    ended = run("convert", recipe, "--output", tmp_path / "out", "--set", "benchmark.accuracy.metrics=[top1]")
    assert ended.code == 4 and "metric top1: the model has 2 outputs" in ended.out


def test_check_names_the_samples_that_cannot_be_used(
    relu: Path, vectors: Path, check: Command, write_recipe: Recipe
) -> None:
    """Not only the first: all are read with ``--data``, as ``convert`` will."""
    file = vectors / "07.npy"
    put(file, np.array([1, np.nan, np.inf, 2], np.float32))
    calibration = {"path": str(vectors), "samples": 9, "select": "first"}
    message = NOT_FINITE.format(file=file)
    ended = check(write_recipe(relu, npy(vectors, calibration=calibration)), "--data")
    assert (ended.code, ended.err) == (3, f"error: {message}\n")
    ended = check(write_recipe(relu, npy(vectors, calibration=calibration, on_bad_sample="skip")), "--data")
    assert ended.code == 0, ended.err
    said = " ".join(ended.out.split())
    assert "1 sample cannot be used and will be skipped, the first because" in said and "(07.npy)" in said


# (how a file becomes, the message with {file})
BAD_IMAGES: list[tuple[Callable[[Path], object], str]] = [
    (
        lambda file: file.write_bytes(b"<html>not found</html>"),
        "{file}: not a JPEG, PNG, BMP or WebP image; write it again or remove it",
    ),
    (
        lambda file: file.write_bytes(file.read_bytes()[:-40]),
        "{file}: cannot be read: image file is truncated",
    ),
    (
        lambda file: Image.new("L", (9, 8)).save(file),
        "{file}: input 'image': expected shape (8, 8, 1) float32, got (8, 9, 1) uint8; add "
        "{{resize: {{size: [8, 8]}}}} to dataset.preprocess",
    ),
]


@pytest.mark.slow
@pytest.mark.parametrize(("spoil", "message"), BAD_IMAGES)
def test_bad_images(
    spoil: Callable[[Path], object],
    message: str,
    models: Path,
    images: Path,
    check: Command,
    write_recipe: Recipe,
) -> None:
    file = images / "a" / "0.png"
    spoil(file)
    dataset = {"format": {"type": "image"}, "preprocess": [{"color": "gray"}], "evaluation": {"path": str(images)}}
    ended = check(write_recipe(models / "tiny.keras", dataset))
    assert ended.code == 3
    assert ended.message.startswith(message.format(file=file)), ended.err


@pytest.mark.slow
def test_a_corrupt_image_is_skipped_in_calibration_and_evaluation(
    tmp_path: Path, models: Path, images: Path, run: Command, write_recipe: Recipe
) -> None:
    for name in ("a/1.png", "c/3.png"):
        (images / name).write_bytes(b"broken")
    dataset = {
        "format": {"type": "image"},
        "preprocess": [{"color": "gray"}, {"normalize": "0..1"}],
        "calibration": {"path": str(images), "samples": 6, "select": "first"},
        "evaluation": {"path": str(images)},
        "on_bad_sample": "skip",
    }
    ended = run("convert", write_recipe(models / "tiny.keras", dataset, ["int8"]), "--output", "out", "--json")
    assert ended.code == 0, ended.err
    assert json.loads(ended.out)["dataset"]["skipped"] == [
        {
            "sample": name,
            "reason": f"{images / name}: not a JPEG, PNG, BMP or WebP image; write it again or remove it",
        }
        for name in ("a/1.png", "c/3.png")
    ]


@pytest.mark.slow
def test_the_first_samples_may_all_be_bad(tmp_path: Path, models: Path, run: Command, write_recipe: Recipe) -> None:
    """Calibration works in parts; one of them is left with none."""
    folder = tmp_path / "samples"
    folder.mkdir()
    for i in range(40):
        np.save(folder / f"{i:02}.npy", np.full((8, 8, 1), np.nan if i < 11 else i / 40, np.float32))
    samples = {"format": {"type": "npy"}, "calibration": {"path": str(folder)}, "on_bad_sample": "skip"}
    recipe = write_recipe(models / "tiny.tflite", samples, ["int8"])
    ended = run("convert", recipe, "--output", tmp_path / "out", "--json")
    assert ended.code == 0, ended.err
    assert [one["sample"] for one in json.loads(ended.out)["dataset"]["skipped"]] == [f"{i:02}.npy" for i in range(11)]


def quarters(tmp_path: Path, model: Path, write_recipe: Recipe, variants: list[Any], spoil: object = None) -> Path:
    """Ten samples of (4,), all 0.25; sample 3 is ``spoil``."""
    folder = tmp_path / "quarters"
    folder.mkdir()
    for i in range(10):
        put(folder / f"{i}.npy", np.full(4, 0.25 - i / 100, np.float32))
    if spoil is not None:
        put(folder / "3.npy", np.asarray(spoil, np.float32))
    calibration = {"path": str(folder), "samples": 2, "select": "first"}
    return write_recipe(model, npy(folder, calibration=calibration), variants)


@pytest.mark.slow
def test_an_operator_without_an_integer_kernel(
    tmp_path: Path, models: Path, run: Command, write_recipe: Recipe
) -> None:
    """It is named; the other variants are made."""
    variants = ["dynamic", "int8", "int16x8", {"scheme": "int8", "name": "mixed", "float_fallback": True}]
    recipe = quarters(tmp_path, models / "sine", write_recipe, variants)
    ended = run("convert", recipe, "--output", "out", "-q")
    step = "set float_fallback: true for this variant to leave them in float, or replace the layer"
    int8 = f"int8: operators without an integer kernel: SIN (Sin); {step}"
    int16x8 = f"int16x8: operators without an integer kernel: SIN (Sin); {step}"
    assert (ended.code, ended.err) == (4, f"error: {int8}\nerror: {int16x8}\n")
    found = {v["name"]: v for v in json.loads((tmp_path / "out" / "report.json").read_text())["variants"]}
    assert [name for name, v in found.items() if v["file"] is not None] == ["float32", "dynamic", "mixed"]
    assert found["int8"]["error"] == int8
    assert found["mixed"]["audit"]["fully_integer"] is False
    assert sorted(path.name for path in (tmp_path / "out").glob("*.tflite")) == [
        "dynamic.tflite",
        "float32.tflite",
        "mixed.tflite",
    ]


@pytest.mark.slow
def test_infinite_outputs(tmp_path: Path, models: Path, run: Command, write_recipe: Recipe) -> None:
    recipe = quarters(tmp_path, models / "blows", write_recipe, ["float16"], spoil=[2, 1, 1, 1])
    ended = run("convert", recipe, "--output", tmp_path / "out", "-q")
    expected = [
        f"{tmp_path}/out/{name}.tflite: output 'y' of {name} holds 4 NaN or infinite values of 4 on sample 3.npy; "
        "check the model and the preprocessing with that sample"
        for name in ("float32", "float16")
    ]
    assert (ended.code, ended.err.splitlines()) == (4, [f"error: {message}" for message in expected])


@pytest.mark.slow
def test_infinite_outputs_on_the_first_sample(tmp_path: Path, models: Path, run: Command, write_recipe: Recipe) -> None:
    recipe = quarters(tmp_path, models / "blows", write_recipe, [])
    file = tmp_path / "quarters" / "2.npy"  # the first that is not used for calibration
    put(file, np.array([2, 1, 1, 1], np.float32))
    ended = run("convert", recipe, "--output", tmp_path / "out", "-q")
    message = f"float32: output 'y' holds NaN or infinity on {file}; check the model with that input"
    assert (ended.code, ended.err) == (4, f"error: {message}\n")
