"""One whole run from the command line: what it leaves, twice the same, and its figures computed once more by hand."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter
from numpy.typing import NDArray
from PIL import Image
from scipy.stats import binomtest
from sklearn.metrics import confusion_matrix

pytestmark = pytest.mark.slow
Array = NDArray[Any]
CLASSES = ("bars", "stripes")
EACH = 30

RECIPE = """
version: 1
name: tiny
model: {path: MODEL}
dataset:
  format: {type: image}
  preprocess: [{color: gray}, {normalize: 0..1}]
  calibration: {path: images, samples: 12, select: stratified, seed: 3}
  evaluation: {path: images}
variants: [dynamic, float16, {scheme: int8, io: int8}, int16x8]
benchmark: {latency: {delegates: [cpu, xnnpack], threads: [1], runs: 20, precision: 0.9}}
gate:
  int8: {accuracy: {max_drop: 0.5}, fully_integer: true, size: {max_ratio: 2}}
"""


@dataclass(frozen=True)
class Run:
    folder: Path
    report: dict[str, Any]
    images: Path

    def variant(self, name: str) -> dict[str, Any]:
        (found,) = [variant for variant in self.report["variants"] if variant["name"] == name]
        return found


def draw(folder: Path) -> None:
    """Noisy images of vertical bars and of horizontal stripes; the noise is strong enough for some mistakes."""
    random = np.random.default_rng(7)
    for label, name in enumerate(CLASSES):
        (folder / name).mkdir(parents=True)
        for i in range(EACH):
            pattern = np.tile([0.4, 0.6], (8, 4))
            pixels = (pattern if label == 0 else pattern.T) + random.normal(0, 0.25, (8, 8))
            Image.fromarray((np.clip(pixels, 0, 1) * 255).astype(np.uint8)).save(folder / name / f"{i:02}.png")


def convert(folder: Path, *more: str) -> None:
    command = [sys.executable, "-m", "tflite_ptq", "convert", "recipe.yaml", "-q", *more]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.fixture(scope="module")
def whole(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("whole")
    draw(folder / "images")
    (folder / "recipe.yaml").write_text(RECIPE.replace("MODEL", str(models / "tiny.keras")), encoding="utf-8")
    convert(folder)
    return Run(folder, json.loads((folder / "out/tiny/report.json").read_text(encoding="utf-8")), folder / "images")


NAMES = ["float32", "dynamic", "float16", "int8", "int16x8"]


def test_files(whole: Run) -> None:
    expected = {
        "report.json",
        "report.md",
        "report.html",
        "junit.xml",
        "latency.json",
        "manifest.json",
        "log.txt",
        *(f"{name}.tflite" for name in NAMES),
    }
    assert {path.name for path in (whole.folder / "out/tiny").iterdir()} == expected
    for name in NAMES:
        data = (whole.folder / f"out/tiny/{name}.tflite").read_bytes()
        variant = whole.variant(name)
        assert variant["file"] == f"{name}.tflite"
        assert variant["size_bytes"] == len(data)
        assert variant["sha256"] == hashlib.sha256(data).hexdigest()


def test_report_is_the_contract(whole: Run) -> None:
    report = whole.report
    assert report["format"] == "tflite-ptq-report/1"
    assert report["status"] == "passed"
    recipe = (whole.folder / "recipe.yaml").read_bytes()
    assert report["recipe"]["name"] == "tiny"
    assert Path(report["recipe"]["path"]).name == "recipe.yaml"
    assert report["recipe"]["sha256"] == hashlib.sha256(recipe).hexdigest()
    assert report["recipe"]["text"] == recipe.decode()
    assert report["model"]["inputs"] == [
        {"name": "image", "shape": [1, 8, 8, 1], "dtype": "float32", "scale": None, "zero_point": None}
    ]
    assert report["model"]["outputs"][0]["shape"] == [1, 3]
    assert report["dataset"].pop("findings")[0].startswith("only 12 calibration samples")
    hashes = {subset: report["dataset"].pop(f"{subset}_sha256") for subset in ("calibration", "evaluation")}
    assert hashes == json.loads((whole.folder / "out/tiny/manifest.json").read_text(encoding="utf-8"))["samples"]
    assert report["dataset"] == {
        "calibration_samples": 12,
        "evaluation_samples": 2 * EACH - 12,
        "calibration_left_out": 12,
        "labelled": True,
        "skipped": [],
    }
    assert [variant["name"] for variant in report["variants"]] == NAMES
    assert {"open", "convert", "calibrate", "evaluate", "latency"} <= report["durations_s"].keys()
    gate = {(check["variant"], check["check"]): check for check in report["gate"]}
    assert len(gate) == 3
    assert all(check["passed"] for check in gate.values())
    known = {"python", "platform", "cpu", "cores", "tensorflow", "ai_edge_litert", "numpy"}
    assert known <= report["environment"].keys()


@pytest.mark.parametrize(
    ("name", "io", "integer"),
    [
        ("float32", "float32", False),
        ("dynamic", "float32", False),
        ("float16", "float32", False),
        ("int8", "int8", True),
        ("int16x8", "float32", True),
    ],
)
def test_audit(name: str, io: str, integer: bool, whole: Run) -> None:
    audit = whole.variant(name)["audit"]
    assert audit["fully_integer"] is integer
    assert bool(audit["float_ops"]) is not integer
    assert list(audit["input_dtypes"].values()) == list(audit["output_dtypes"].values()) == [io]
    interpreter = Interpreter(model_path=str(whole.folder / f"out/tiny/{name}.tflite"))
    assert np.dtype(interpreter.get_input_details()[0]["dtype"]).name == io
    assert audit["ops"]["CONV_2D"] == audit["ops"]["FULLY_CONNECTED"] == 1


@pytest.mark.parametrize("name", NAMES)
def test_latency(name: str, whole: Run) -> None:
    entries = whole.variant(name)["latency"]
    assert [(entry["delegate"], entry["threads"]) for entry in entries] == [("cpu", 1), ("xnnpack", 1)]
    for entry, yardstick in zip(entries, whole.variant("float32")["latency"], strict=True):
        assert 0 < entry["median_ns"] <= entry["p90_ns"] <= entry["p99_ns"]
        assert entry["processes"] >= 6 and entry["runs"] == 20 * entry["processes"]
        want = None if name == "float32" else pytest.approx(yardstick["median_ns"] / entry["median_ns"])
        assert entry["speedup"] == want


def outputs(file: Path, samples: Sequence[Array]) -> Array:
    """Real outputs, (samples, classes), with LiteRT as an application would call it."""
    interpreter = Interpreter(model_path=str(file))
    interpreter.allocate_tensors()
    (inputs,), (out,) = interpreter.get_input_details(), interpreter.get_output_details()
    got = []
    for sample in samples:
        scale, zero_point = inputs["quantization"]
        if inputs["dtype"] != np.float32:
            limits = np.iinfo(inputs["dtype"])
            sample = np.clip(np.rint(sample / scale) + zero_point, limits.min, limits.max)
        interpreter.set_tensor(inputs["index"], sample.astype(inputs["dtype"]))
        interpreter.invoke()
        raw = interpreter.get_tensor(out["index"])[0].astype(np.float64)
        scale, zero_point = out["quantization"]
        got.append(raw if out["dtype"] == np.float32 else (raw - zero_point) * scale)
    return np.stack(got)


@pytest.fixture(scope="module")
def evaluated_on_all(whole: Run) -> Run:
    """The same recipe, evaluated on every image, so that no choice of samples stands between it and a hand count."""
    convert(
        whole.folder, "--set", "dataset.evaluation.include_calibration=true", "--set", "benchmark.latency=null",
        "--output", "all", "--no-cache",
    )  # fmt: skip
    return Run(whole.folder, json.loads((whole.folder / "all/report.json").read_text(encoding="utf-8")), whole.images)


@pytest.mark.parametrize("name", NAMES)
def test_figures_by_hand(name: str, evaluated_on_all: Run) -> None:
    whole = evaluated_on_all
    files = [(label, path) for label, c in enumerate(CLASSES) for path in sorted((whole.images / c).iterdir())]
    assert len(files) == 2 * EACH
    samples = [np.asarray(Image.open(path), np.float32)[None, ..., None] / np.float32(255) for _, path in files]
    labels = np.array([label for label, _ in files])
    reference = outputs(whole.folder / "all/float32.tflite", samples)
    got = outputs(whole.folder / f"all/{name}.tflite", samples)

    top1 = float(np.mean(got.argmax(axis=1) == labels))
    yardstick = float(np.mean(reference.argmax(axis=1) == labels))
    change = None if name == "float32" else pytest.approx(top1 - yardstick)
    measured = whole.variant(name)["accuracy"]["top1"]
    assert (measured["value"], measured["change"]) == (pytest.approx(top1), change)
    right, was = got.argmax(axis=1) == labels, reference.argmax(axis=1) == labels
    wilson = binomtest(int(right.sum()), len(labels)).proportion_ci(method="wilson")
    assert measured["interval"] == {"low": wilson.low, "high": wilson.high, "confidence": 0.95}
    lost, won = int((was & ~right).sum()), int((right & ~was).sum())
    if name != "float32":
        assert measured["test"] == "mcnemar"
        assert measured["p_value"] == (binomtest(lost, lost + won).pvalue if lost + won else 1)
        assert measured["change_interval"]["low"] <= top1 - yardstick <= measured["change_interval"]["high"]
    classes = whole.variant(name)["classes"]
    assert classes["confusion"] == confusion_matrix(labels, got.argmax(axis=1), labels=[0, 1, 2]).tolist()
    assert [one["name"] for one in classes["classes"]] == [*CLASSES, "2"]  # the model knows a third
    assert classes["classes"][0]["recall"] == pytest.approx(right[labels == 0].mean())
    assert (classes["regressed"], classes["mended"]) == ((None, None) if name == "float32" else (lost, won))
    assert len(classes["regressions"]) == (0 if name == "float32" else lost)
    fidelity = whole.variant(name)["fidelity"]
    if name == "float32":
        assert fidelity is None
        return
    assert fidelity["samples"] == 2 * EACH
    assert fidelity["agreement"] == pytest.approx(float(np.mean(got.argmax(axis=1) == reference.argmax(axis=1))))
    noise = float(np.sum((reference - got) ** 2))
    assert fidelity["exact"] is (noise == 0)
    if name == "dynamic":  # the converter leaves weights of fewer than 1024 values in float: the same file
        assert (noise, fidelity["sqnr_db"]) == (0, None)
        return
    assert fidelity["sqnr_db"] == pytest.approx(10 * np.log10(float(np.sum(reference**2)) / noise), abs=1e-3)


def test_two_runs_leave_the_same_bytes(whole: Run, evaluated_on_all: Run) -> None:
    for name in NAMES:
        first, second = ((whole.folder / f / f"{name}.tflite").read_bytes() for f in ("out/tiny", "all"))
        assert first == second, name
