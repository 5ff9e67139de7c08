"""What calibration, exclusion and correction cannot use -> exact message, exit code."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import Command, Ended
from tiny_tflite import int8_dense

pytestmark = pytest.mark.slow
Write = Callable[..., Path]


def pictures(folder: Path, **calibration: object) -> dict[str, object]:
    return {
        "format": {"type": "image"},
        "preprocess": [{"color": "gray"}, {"normalize": "0..1"}],
        "calibration": {"path": str(folder), **calibration},
    }


def rows(folder: Path, values: object, **calibration: object) -> dict[str, object]:
    """Stacked samples."""
    np.save(folder / "rows.npy", np.asarray(values, np.float32))
    return {"format": {"type": "npy"}, "calibration": {"path": str(folder / "rows.npy"), **calibration}}


def report(tmp_path: Path) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((tmp_path / "out/t/report.json").read_text(encoding="utf-8"))
    return loaded


def variant(tmp_path: Path, name: str) -> dict[str, Any]:
    (found,) = [one for one in report(tmp_path)["variants"] if one["name"] == name]
    return found


def test_too_few_samples_to_hold_any_back(
    tmp_path: Path, models: Path, images: Path, run: Command, write_recipe: Write
) -> None:
    ended = run("convert", write_recipe(models / "tiny.tflite", pictures(images, samples=6), ["int8"]), "-q")
    assert ended == Ended(0, "", "")
    correction = variant(tmp_path, "int8")["correction"]
    assert (correction["held_back_samples"], correction["held_back"]) == (6, False)
    (note,) = [note for note in variant(tmp_path, "int8")["notes"] if note.startswith("bias correction")]
    assert "6 calibration samples, too few to hold any back" in note
    kept = [layer["reason"] for layer in correction["layers"] if layer["status"] == "kept"]
    assert kept and all(reason.endswith(" on 6 samples, too few to hold any back") for reason in kept)


SEE = "(tflite-ptq inspect shows them all)"


def test_excluding_nothing(tmp_path: Path, models: Path, images: Path, run: Command, write_recipe: Write) -> None:
    """The other variants are made."""
    variants = [
        {"scheme": "int8", "name": "pattern", "exclude": ["conv2_d"]},
        {"scheme": "int8", "name": "op", "exclude": [{"op": "softmaks"}]},
        {"scheme": "int8", "name": "good", "exclude": [{"op": "SOFTMAX"}]},
    ]
    ended = run("convert", write_recipe(models / "tiny.tflite", pictures(images), variants), "-q")
    pattern, op = (
        f"pattern: exclude: 'conv2_d' matches no layer of the model; the nearest names are NAMES {SEE}",
        f"op: exclude: '{{op: softmaks}}' matches no layer of the model; the nearest names are SOFTMAX {SEE}",
    )
    # Keras counts its layers through the process: conv2d, conv2d_1, ...
    shown = re.sub(r"names are conv2d[^(]* \(", "names are NAMES (", ended.err)
    assert shown == f"error: {pattern}\nerror: {op}\n"
    assert ended.code == 4
    assert [one["error"] is None for one in report(tmp_path)["variants"]] == [True, False, False, True]
    assert any(op.startswith("SOFTMAX") for op in variant(tmp_path, "good")["audit"]["float_ops"])


@pytest.mark.parametrize("first", [{}, {"*": "entropy"}], ids=["no such name", "taken by a pattern before"])
def test_an_override_of_nothing(
    first: dict[str, str], models: Path, images: Path, run: Command, write_recipe: Write
) -> None:
    wrong = "Relu" if first else "Reluu*"
    dataset = pictures(images, overrides={**first, wrong: "mse"})
    ended = run("convert", write_recipe(models / "tiny.tflite", dataset, ["int8"]), "-q")
    start = (
        f"error: dataset.calibration.overrides: '{wrong}' matches no activation of the model, or a pattern before it "
        "takes them all; the nearest names are Relu"
    )
    assert ended.err.startswith(start)
    assert ended.err.endswith(f" {SEE}\n")
    assert (ended.code, ended.out) == (4, "")


def test_an_integer_model_as_source(tmp_path: Path, run: Command, write_recipe: Write) -> None:
    path = int8_dense(tmp_path / "int8.tflite")
    ended = run("convert", write_recipe(path, rows(tmp_path, np.ones((8, 4))), ["int8"]), "-q")
    message = (
        f"{path}: the model is already quantized (1 int32 tensors with scales, 3 int8 tensors with scales); name the "
        "float model it was made from"
    )
    assert ended == Ended(3, "", f"error: {message}\n")


def test_activations_that_are_infinite_on_the_first_sample(
    tmp_path: Path, models: Path, run: Command, write_recipe: Write
) -> None:
    """The audit of float32 sees it before."""
    ended = run("convert", write_recipe(models / "blows", rows(tmp_path, np.full((8, 4), 2.0)), ["int8"]), "-q")
    message = (
        f"float32: output 'y' holds NaN or infinity on {tmp_path / 'rows.npy'}[0]; check the model with that input"
    )
    assert ended == Ended(4, "", f"error: {message}\n")


@pytest.mark.parametrize("method", ["minmax", "mse"])
@pytest.mark.parametrize(("row", "fault"), [([2, 1, 1, 1], "infinite values"), ([2, 0, 0, 0], "NaN")])
def test_activations_that_are_not_finite_on_another_sample(
    row: list[float], fault: str, method: str, tmp_path: Path, models: Path, run: Command, write_recipe: Write
) -> None:
    values = np.random.default_rng(0).uniform(-1, 0.5, (12, 4))
    values[7] = row
    dataset = rows(tmp_path, values, method=method)
    ended = run("convert", write_recipe(models / "blows", dataset, [{"scheme": "int8", "float_fallback": True}]), "-q")
    message = (
        f"calibration: activation 'PartitionedCall:0': {fault} in 1 of 12 samples; look at the samples and at the "
        "float model"
    )
    assert ended == Ended(4, "", f"error: {message}\n")


def test_an_activation_of_zero_width(tmp_path: Path, relu: Path, run: Command, write_recipe: Write) -> None:
    """-1 everywhere: the range of relu(-1) is 0..0."""
    ended = run("convert", write_recipe(relu, rows(tmp_path, -np.ones((8, 4))), ["int8"]), "-q")
    assert ended == Ended(0, "", "")
    findings = report(tmp_path)["dataset"]["findings"]
    for name in ("in", "out"):
        assert f"activation '{name}' has the same value on every calibration sample" in findings
