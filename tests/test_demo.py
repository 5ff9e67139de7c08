"""The demo: exact images, a fixed split, folders it will not touch, and the whole job (slow)."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits

from tflite_ptq.cli.demo_recipe import MARK, RECIPE
from tflite_ptq.recipe.loader import load
from tflite_ptq.worker.demo import LARGEST, held_out, shifted, to_grey, to_scan
from tflite_ptq.worker.demo_messages import WriteDigits, Written
from tflite_ptq.worker.process import Worker


def test_grey_levels_give_back_the_scans() -> None:
    scans = np.arange(LARGEST + 1, dtype=np.float64)
    grey = to_grey(scans)
    assert (grey[0], grey[8], grey[16]) == (0, 128, 255)
    assert to_scan(grey).tolist() == list(range(17))


def test_a_quarter_of_each_class_is_held_out() -> None:
    labels = load_digits().target
    test = held_out(labels)
    assert (len(test), int(test.sum())) == (1797, 450)
    for digit in range(10):
        assert abs(test[labels == digit].mean() - 0.25) < 0.01
    assert (held_out(labels) == test).all()


def test_shifted_images_move_by_one_pixel() -> None:
    dot = np.zeros((1, 3, 3, 1), np.float32)
    dot[0, 0, 1, 0] = 1
    images, labels = shifted(dot, np.array([7]))
    assert labels.tolist() == [7] * 5
    # The dot at (0, 1) as it is, down, up (gone), right, left.
    assert [np.argwhere(image[..., 0]).tolist() for image in images] == [[[0, 1]], [[1, 1]], [], [[0, 2]], [[0, 0]]]


def test_every_scan_is_written_once_and_exactly(tmp_path: Path) -> None:
    child = Worker("tflite_ptq.worker.demo", tmp_path / "log.txt", 120)
    seen: list[tuple[int, int]] = []
    try:
        request = WriteDigits(folder=str(tmp_path))
        written = child.ask(request, Written, "write", lambda done, total: seen.append((done, total)))
    finally:
        child.kill()
    assert (written.train, written.test) == (1347, 450)
    assert seen[-1] == (1797, 1797)
    digits = load_digits()
    files = sorted(tmp_path.glob("*/*/*.png"), key=lambda file: file.stem)
    assert [int(file.stem) for file in files] == list(range(1797))
    for file, scan, digit in zip(files, digits.images, digits.target, strict=True):
        assert int(file.parent.name) == digit
        assert (to_scan(np.asarray(Image.open(file))) == scan).all()


def test_the_recipe_is_valid_and_lies_in_its_folder(tmp_path: Path) -> None:
    (tmp_path / "recipe.yaml").write_text(RECIPE, encoding="utf-8")
    recipe = load(tmp_path / "recipe.yaml").recipe
    assert [variant.name for variant in recipe.variants] == ["dynamic", "float16", "int8", "int16x8"]
    assert recipe.model.path == str(tmp_path / "model.keras")
    assert recipe.output == str(tmp_path / "results")
    assert recipe.dataset is not None and recipe.dataset.evaluation is not None
    assert recipe.dataset.evaluation.path == str(tmp_path / "test")


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"thesis.tex": ""}, "{dir}: holds 'thesis.tex' and is no earlier demo; name an empty or new folder: "),
        ({"recipe.yaml": "version: 1\n"}, "{dir}: holds 'recipe.yaml' and is no earlier demo; "),
        ({"recipe.yaml": f"{MARK}\nversion: 1\n"}, "{dir}/recipe.yaml: is not as this demo writes it; to run it"),
    ],
)
def test_a_folder_of_the_users_is_left_alone(tmp_path: Path, files: dict[str, str], message: str) -> None:
    folder = tmp_path / "mine"
    folder.mkdir()
    for name, text in files.items():
        (folder / name).write_text(text, encoding="utf-8")
    done = _demo(folder)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: " + message.format(dir=folder))
    assert {file.name: file.read_text(encoding="utf-8") for file in folder.iterdir()} == files


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    done = _demo(tmp_path / "file")
    assert done.returncode == 2
    assert done.stderr == f"error: {tmp_path / 'file'}: is a file; name a folder: tflite-ptq demo DIR\n"


@pytest.mark.slow
def test_the_whole_demo(tmp_path: Path) -> None:
    folder = tmp_path / "demo"
    folder.mkdir()
    (folder / "recipe.yaml").write_text(RECIPE, encoding="utf-8")  # as an interrupted run leaves it
    done = _demo(folder)
    assert done.returncode == 0, done.stderr
    trained = re.search(r"trained: ([\d.]+)% of the held-out images right", done.stdout)
    assert trained is not None and float(trained[1]) > 97
    report = json.loads((folder / "results" / "report.json").read_text(encoding="utf-8"))
    assert report["status"] == "passed"
    assert (report["dataset"]["calibration_samples"], report["dataset"]["evaluation_samples"]) == (200, 450)
    variants = {variant["name"]: variant for variant in report["variants"]}
    assert list(variants) == ["float32", "dynamic", "float16", "int8", "int16x8"]
    for variant in variants.values():
        assert variant["accuracy"]["top1"]["value"] > 0.97
        assert {timing["delegate"] for timing in variant["latency"]} == {"cpu", "xnnpack"}
    # The yardstick's figure is Keras' own.
    assert variants["float32"]["accuracy"]["top1"]["value"] == pytest.approx(float(trained[1]) / 100, abs=0.0006)
    assert sorted(path.name for path in folder.iterdir()) == [
        "log.txt",
        "model.keras",
        "recipe.yaml",
        "results",
        "test",
        "train",
    ]


def _demo(folder: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tflite_ptq", "demo", str(folder)]
    return subprocess.run(command, capture_output=True, text=True, check=False)
