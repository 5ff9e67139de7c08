"""int8 with the default settings on nets of many kinds: strictly integer, and never worse than TFLiteConverter's.

TFLiteConverter's stands for engine tflite without correction (``test_against_tensorflow`` shows that the two are the
same). Outputs are compared with LiteRT called as an application would, on samples that neither calibrated nor trained.
"""

from __future__ import annotations

import json
import math
import subprocess
import sys
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
"""What TensorFlow has no integer kernel for: the operator is named, and ``float_fallback`` makes the model."""

CANNOT_RUN = {("transformer", "int16x8"): "SquaredDifference only supports FLOAT32 and INT32 now"}
"""What TensorFlow makes and LiteRT (2.3.0) cannot run: the audit says so."""


def recipe(net: str, **more: str) -> str:
    """Each scheme strictly, and those that are refused once more with ``float_fallback``."""
    variants: list[dict[str, object]] = [{"scheme": scheme, **more} for scheme in VARIANTS]
    for scheme in (scheme for name, scheme in REFUSED if name == net):
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
        variant = f"{scheme}-fallback" if (self.name, scheme) in REFUSED else scheme
        return self.folder / side / f"{variant}.tflite"

    def variant(self, scheme: str) -> dict[str, Any]:
        name = self.file("", scheme).stem
        (found,) = [variant for variant in self.report["variants"] if variant["name"] == name]
        return found


@pytest.fixture(scope="module", params=NETS)
def net(request: pytest.FixtureRequest, nets: Path) -> Net:
    folder = nets / request.param
    name, refused = request.param, {s: op for (net, s), op in REFUSED.items() if net == request.param}
    for side, text, engine in (
        ("default", recipe(name), "litert"),
        ("stock", recipe(name, correction="none"), "tflite"),
    ):
        (folder / f"{side}.yaml").write_text(text, encoding="utf-8")
        command = [sys.executable, "-m", "tflite_ptq", "convert", f"{side}.yaml", "--no-benchmark", "-q"]
        settings = ["--set", f"dataset.calibration.engine={engine}", "--output", side]
        done = subprocess.run([*command, *settings], cwd=folder, capture_output=True, text=True, check=False)
        assert done.returncode == (4 if refused else 0), done.stderr
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


def test_int8_is_strictly_integer(net: Net) -> None:
    audit = net.variant("int8")["audit"]
    float_operators = [op for op in audit["float_ops"] if not op.startswith(("QUANTIZE", "DEQUANTIZE"))]
    refused = REFUSED.get((net.name, "int8"))
    assert {op.partition(" ")[0] for op in float_operators} <= ({refused.split()[0]} if refused else set())


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
    if (net.name, variant) in CANNOT_RUN:
        assert CANNOT_RUN[net.name, variant] in net.variant(variant)["error"]
        assert net.variant(variant)["error"].startswith("default/")
        return
    reference = outputs(net, net.file("default", "float32"))
    ours, stock = (outputs(net, net.file(side, variant)) for side in ("default", "stock"))
    for want, got, before in zip(reference, ours, stock, strict=True):
        print(f"{net.name} {variant}: {sqnr_db(want, got):.2f} dB, stock {sqnr_db(want, before):.2f} dB")
        assert sqnr_db(want, got) >= sqnr_db(want, before) - NOISE_DB
    labels = np.load(net.folder / "labels.npy")
    (scores,) = (i for i, values in enumerate(reference) if values.shape[1] == 10)
    right, right_before = (side[scores].argmax(axis=1) == labels for side in (ours, stock))
    # A drop counts beyond two standard errors of the paired difference, and one sample is none.
    gain = right.astype(float) - right_before
    assert gain.mean() >= -max(2 * float(gain.std(ddof=1)) / math.sqrt(len(gain)), 1.5 / len(gain))
