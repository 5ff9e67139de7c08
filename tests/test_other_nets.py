"""int8 with the default settings on nets of many kinds: strictly integer, and never worse than TFLiteConverter's.

TFLiteConverter's stands for engine tflite without correction (``test_against_tensorflow`` shows that the two are the
same). Outputs are compared with LiteRT called as an application would, on samples that neither calibrated nor trained.
"""

from __future__ import annotations

import json
import math
import subprocess
import sys
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter
from conftest import HERE
from numpy.typing import NDArray

pytestmark = pytest.mark.slow
Array = NDArray[Any]
NETS = (
    "residual",
    "inverted_residual",
    "dense_only",
    "convolution_1d",
    "transformer",
    "two_inputs",
    "two_outputs",
    "transposed",
)
NOISE_DB = 0.5
RECIPE = {
    "version": 1,
    "name": "net",
    "model": {"path": "model.keras"},
    "dataset": {
        "format": {"type": "npz"},
        "calibration": {"path": "calibration.npz", "samples": 200},
        "evaluation": {"path": "evaluation.npz"},
    },
}
VARIANTS = ("int8", "dynamic", "int16x8")
REFUSED = {
    ("inverted_residual", "int16x8"): "HARD_SWISH",
    ("transformer", "int8"): "NEG",
    ("transformer", "int16x8"): "NEG",
}
"""What TFLiteConverter alone has no integer kernel for: the operator is named, ``float_fallback`` makes the model."""

CANNOT_RUN = {("transformer", "int16x8"): "SquaredDifference only supports FLOAT32 and INT32 now"}
"""What TFLiteConverter alone makes and LiteRT (2.3.0) cannot run: the audit says so."""


def recipe(fallbacks: Collection[str] = (), **more: str) -> str:
    """Each scheme strictly, and ``fallbacks`` once more with ``float_fallback``."""
    variants: list[dict[str, object]] = [{"scheme": scheme, **more} for scheme in VARIANTS]
    for scheme in fallbacks:
        variants.append({"scheme": scheme, "name": f"{scheme}-fallback", "float_fallback": True, **more})
    return json.dumps({**RECIPE, "variants": variants})


@pytest.fixture(scope="module")
def nets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The nets of ``make_other_nets``: half a minute."""
    folder = tmp_path_factory.mktemp("nets")
    command = [sys.executable, str(HERE / "make_other_nets.py"), str(folder), *NETS]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return folder


@dataclass(frozen=True)
class Net:
    name: str
    folder: Path
    report: dict[str, Any]

    def file(self, side: str, scheme: str) -> Path:
        fallback = side == "stock" and (self.name, scheme) in REFUSED
        return self.folder / side / (f"{scheme}-fallback.tflite" if fallback else f"{scheme}.tflite")

    def variant(self, scheme: str) -> dict[str, Any]:
        (found,) = [variant for variant in self.report["variants"] if variant["name"] == scheme]
        return found


@pytest.fixture(scope="module", params=NETS)
def net(request: pytest.FixtureRequest, nets: Path) -> Net:
    folder = nets / request.param
    refused_by_tflite = {scheme: op for (net, scheme), op in REFUSED.items() if net == request.param}
    for side, text, engine, refused in (
        ("default", recipe(), "litert", {}),
        ("stock", recipe(refused_by_tflite, correction="none"), "tflite", refused_by_tflite),
    ):
        (folder / f"{side}.yaml").write_text(text, encoding="utf-8")
        command = [sys.executable, "-m", "tflite_ptq", "convert", f"{side}.yaml", "--no-benchmark", "-q"]
        settings = ["--set", f"dataset.calibration.engine={engine}", "--output", side]
        done = subprocess.run([*command, *settings], cwd=folder, capture_output=True, text=True, check=False)
        assert done.returncode == (4 if refused else 0), done.stderr
        for (net, scheme), why in CANNOT_RUN.items():
            cannot_run = side == "stock" and net == request.param
            assert cannot_run == (why in done.stderr), done.stderr
            assert cannot_run == (f"{side}/{scheme}-fallback.tflite:" in done.stderr)
        for scheme, operator in refused.items():
            assert f"{scheme}: operators without an integer kernel: {operator}" in done.stderr
    report = json.loads((folder / "default" / "report.json").read_text(encoding="utf-8"))
    return Net(request.param, folder, report)


def outputs(net: Net, file: Path) -> list[Array]:
    """Per output, real values (samples, values), in the order of the model's outputs by name."""
    interpreter = Interpreter(model_path=str(file))
    runner = interpreter.get_signature_runner()
    found: dict[str, list[Array]] = {}
    with np.load(net.folder / "evaluation.npz") as arrays:
        samples = {name: arrays[name] for name in arrays.files}
    for i in range(len(next(iter(samples.values())))):
        for name, value in runner(**{key: value[i : i + 1] for key, value in samples.items()}).items():
            found.setdefault(name, []).append(value.astype(np.float64).reshape(-1))
    return [np.stack(found[name]) for name in sorted(found)]


def sqnr_db(reference: Array, got: Array) -> float:
    noise = float(np.sum((reference - got) ** 2))
    return 10 * math.log10(float(np.sum(reference**2)) / noise) if noise else math.inf


@pytest.mark.parametrize("scheme", ["int8", "int16x8"])
def test_integer_models_are_strictly_integer(net: Net, scheme: str) -> None:
    variant = net.variant(scheme)
    assert variant["audit"]["float_ops"] == []
    substituted = [note for note in variant["notes"] if "without an integer kernel" in note]
    assert bool(substituted) == ((net.name, scheme) in REFUSED)
    assert all(REFUSED[net.name, scheme] in note for note in substituted)


def test_a_correction_was_tried_and_says_what_became_of_it(net: Net) -> None:
    correction = net.variant("int8")["correction"]
    assert correction["held_back"] is True
    assert correction["held_back_samples"] == 40
    assert correction["layers"]
    assert {layer["status"] for layer in correction["layers"]} <= {"kept", "refused", "skipped"}
    assert all(layer["reason"] for layer in correction["layers"])
    assert correction["sqnr_after_db"] >= correction["sqnr_before_db"]


def test_transposed_convolutions_are_corrected(net: Net) -> None:
    layers = [layer for layer in net.variant("int8")["correction"]["layers"] if layer["op"] == "TRANSPOSE_CONV"]
    assert len(layers) == (2 if net.name == "transposed" else 0)
    assert all(layer["status"] != "skipped" for layer in layers), layers


@pytest.mark.parametrize("variant", VARIANTS)
def test_nothing_gets_worse(net: Net, variant: str) -> None:
    reference = outputs(net, net.file("default", "float32"))
    # What LiteRT cannot run in 16 bits, it can in 8.
    before = "int8" if (net.name, variant) in CANNOT_RUN else variant
    ours, stock = outputs(net, net.file("default", variant)), outputs(net, net.file("stock", before))
    for want, got, stocks in zip(reference, ours, stock, strict=True):
        print(f"{net.name} {variant}: {sqnr_db(want, got):.2f} dB, stock {sqnr_db(want, stocks):.2f} dB")
        assert sqnr_db(want, got) >= sqnr_db(want, stocks) - NOISE_DB
    labels = np.load(net.folder / "labels.npy")
    (scores,) = (i for i, values in enumerate(reference) if values.shape[1] == 10)
    right, right_before = (side[scores].argmax(axis=1) == labels for side in (ours, stock))
    # A drop counts beyond two standard errors of the paired difference, and one sample is none.
    gain = right.astype(float) - right_before
    assert gain.mean() >= -max(2 * float(gain.std(ddof=1)) / math.sqrt(len(gain)), 1.5 / len(gain))
