"""``init``: a model and a folder of samples -> a recipe that ``check`` and ``convert`` take as it stands."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from conftest import Command
from PIL import Image


def quarter_samples(folder: Path, shape: tuple[int, ...], suffix: str) -> None:
    folder.mkdir()
    for i in range(6):
        values = np.full(shape, i / 8, np.float32)
        if suffix == ".npy":
            np.save(folder / f"{i}.npy", values)
        elif suffix == ".npz":
            np.savez(folder / f"{i}.npz", image=values)
        else:
            values.tofile(folder / f"{i}.bin")


@pytest.mark.slow
@pytest.mark.parametrize("data", [None, ".png", ".npy", ".npz", ".bin", "stacked.npy", "one.bin"])
@pytest.mark.parametrize("model", ["tiny.keras", "tiny.h5", "tiny_saved", "tiny.tflite"])
def test_init_writes_what_check_accepts(
    model: str, data: str | None, models: Path, images: Path, tmp_path: Path, run: Command, check: Command
) -> None:
    arguments: list[object] = ["init", models / model]
    if data == ".png":
        arguments += ["--data", images]
    elif data == "stacked.npy":
        np.save(tmp_path / data, np.zeros((6, 8, 8, 1), np.float32))
        arguments += ["--data", data]
    elif data == "one.bin":
        np.zeros((8, 8, 1), np.float32).tofile(tmp_path / data)
        arguments += ["--data", data]
    elif data is not None:
        quarter_samples(tmp_path / "samples", (8, 8, 1), data)
        arguments += ["--data", "samples"]
    ended = run(*arguments)
    assert (ended.code, ended.out) == (0, "wrote recipe.yaml; next: tflite-ptq check recipe.yaml\n"), ended.err
    ended = check("recipe.yaml")
    assert ended.code == 0, ended.err + Path("recipe.yaml").read_text(encoding="utf-8")
    if data is not None:
        assert " for calibration, " in ended.out
    again = run(*arguments)
    assert again.code == 2
    assert again.message == ("recipe.yaml: is there already; choose another with -o FILE or replace it with --force")


@pytest.mark.slow
def test_init_says_which_sizes_it_guessed(models: Path, run: Command, check: Command) -> None:
    assert run("init", models / "open", "-o", "sub folder/o.yaml").code == 0
    text = Path("sub folder/o.yaml").read_text(encoding="utf-8")
    assert "# FILL IN: the model leaves dimensions open; the sizes here are guesses to correct." in text
    assert "x: {shape: [1, 128, 2]}" in text
    assert check("sub folder/o.yaml").code == 0


@pytest.mark.slow
def test_init_writes_what_it_was_told(models: Path, images: Path, run: Command, check: Command) -> None:
    """(model, options, what stands in the recipe): each is accepted by ``check``."""
    told: list[tuple[str, list[str], list[str]]] = [
        ("lambda.keras", ["--trust"], ["trust: true"]),
        ("sine", ["--signature", "serving_default"], ['signature: "serving_default"']),
        ("tiny.tflite", [], ["variants: []"]),
        ("tiny.tflite", ["--data", str(images)], ["  - {scheme: int8, io: int8} "]),
        (
            "photo.keras",
            ["--data", str(images)],
            ["are those of the samples", "image: {shape: [1, 8, 8, 3]}", "resize: {size: [8, 8], mode: stretch"],
        ),
        ("scaled.keras", ["--data", str(images)], ["- normalize: raw "]),
        ("tiny.keras", ["--data", str(images)], ['- normalize: "0..1" ']),
    ]
    for model, options, wanted in told:
        ended = run("init", models / model, *options, "--force")
        assert ended.code == 0, ended.err
        text = Path("recipe.yaml").read_text(encoding="utf-8")
        assert all(part in text for part in wanted), text
        assert ("\n  - dynamic " in text) == (model != "tiny.tflite"), text
        assert check("recipe.yaml").code == 0, model


@pytest.mark.slow
def test_init_looks_at_the_samples(models: Path, images: Path, tmp_path: Path, run: Command, check: Command) -> None:
    """Sizes that differ are no size; labels beside stacked samples are no sample."""
    Image.new("L", (30, 20)).save(images / "a" / "wide.png")
    assert run("init", models / "photo.keras", "--data", images).code == 0
    text = Path("recipe.yaml").read_text(encoding="utf-8")
    assert "are guesses to correct" in text and "resize: {size: [224, 224], mode: stretch" in text

    (tmp_path / "both").mkdir()
    np.save(tmp_path / "both" / "labels.npy", np.arange(30))
    np.save(tmp_path / "both" / "x.npy", np.zeros((30, 5, 2), np.float32))
    assert run("init", models / "open", "--data", "both", "--force").code == 0
    text = Path("recipe.yaml").read_text(encoding="utf-8")
    assert "x: {shape: [1, 5, 2]}" in text and "# 30 samples in one file" in text and '"both/x.npy"' in text
    assert check("recipe.yaml").code == 0


# (arguments, exit code, the message with {models})
INIT_REFUSES = [
    (["gone.keras"], 3, "gone.keras: no such file or folder; give a trained model"),
    (
        ["{models}/lambda.keras"],
        3,
        "{models}/lambda.keras: the file holds code that would run on this machine (Lambda layer twice); if you trust "
        "where it comes from, say so in the recipe: model: {{trust: true}} (with init: --trust)",
    ),
    (["{models}/sine", "--signature", "predict"], 3, "{models}/sine: has no signature 'predict' (it has: "),
    (["{models}/only.weights.h5"], 3, "{models}/only.weights.h5: holds weights without a model (no model_config)"),
    (["{models}/tiny.keras", "--data", "gone"], 3, "gone: there is no such file or folder; name the folder that holds"),
    (["{models}/tiny.keras", "--data", "."], 3, ".: no samples found among 1 files (looked for .jpg, "),
    (
        ["{models}/tiny.keras", "-o", "notes.txt/r.yaml"],
        2,
        "notes.txt/r.yaml: cannot be written (a file lies where ",
    ),
]


@pytest.mark.slow
@pytest.mark.parametrize(("arguments", "code", "message"), INIT_REFUSES)
def test_init_refuses(arguments: list[str], code: int, message: str, models: Path, run: Command) -> None:
    Path("notes.txt").write_text("x", encoding="utf-8")
    ended = run("init", *(argument.format(models=models) for argument in arguments))
    assert ended.code == code
    assert ended.message.startswith(message.format(models=models)), ended.err
    assert [path.name for path in Path().iterdir()] == ["notes.txt"]


# (data, the message from the data's name on)
UNUSABLE = [
    ("lying/one.png", "is one image, images are read from a folder; name the folder that holds it"),
    ("lying", "/one.png: not a JPEG, PNG, BMP or WebP image; write it again or remove it"),
    ("zero.npy", "holds no samples (length 0 along axis 0); write the file again or name another"),
    ("scalar.npy", "holds a single number, expected samples stacked along axis 0; write the file again"),
    ("text.npz", "cannot be read: File is not a zip file; write the file again or remove it"),
]


@pytest.mark.slow
@pytest.mark.parametrize(("data", "message"), UNUSABLE)
def test_init_names_the_data_that_cannot_be_used(data: str, message: str, models: Path, run: Command) -> None:
    """And no place in a recipe, which is not there yet."""
    Path("lying").mkdir()
    Path("lying/one.png").write_text("no image", encoding="utf-8")
    Path("text.npz").write_text("no archive", encoding="utf-8")
    np.save("zero.npy", np.zeros((0, 8, 8, 1), np.float32))
    np.save("scalar.npy", np.float32(1))
    ended = run("init", models / "tiny.keras", "--data", data)
    assert (ended.code, ended.message.partition(data)[2].removeprefix(": ")) == (3, message)
    assert "dataset." not in ended.err and not Path("recipe.yaml").exists()


@pytest.mark.slow
def test_what_init_writes_converts(models: Path, images: Path, tmp_path: Path, run: Command) -> None:
    assert run("init", models / "tiny.keras", "--data", images).code == 0
    ended = run("convert", "recipe.yaml", "--set", "benchmark.latency.runs=5")
    assert ended.code == 0, ended.err
    assert {path.name for path in (tmp_path / "out" / "tiny").iterdir()} >= {"int8.tflite", "report.json"}
