"""What the report says, layer by layer, of weights that a variant asked for."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import Command
from float_chain import RELU, Chain, Dense
from identity_model import identity

from tflite_ptq.recipe.dataset import Dataset, Percentile
from tflite_ptq.recipe.schema import Variant
from tflite_ptq.result import TensorInfo
from tflite_ptq.worker.calibration_messages import Prepare
from tflite_ptq.worker.preparing import prepare

RNG = np.random.default_rng(4)


@pytest.fixture
def uneven(tmp_path: Path) -> Path:
    """Two dense layers, the first's channels a thousand times apart, the second's columns as much the other way."""
    apart = np.geomspace(0.03, 30, 8)[:, np.newaxis]
    first, second = RNG.normal(size=(8, 6)) * apart, RNG.normal(size=(3, 8)) / apart.T
    layers = [
        Dense(first.astype(np.float32), np.zeros(8, np.float32), (1, 8), RELU),
        Dense(second.astype(np.float32), np.zeros(3, np.float32), (1, 3)),
    ]
    path = tmp_path / "uneven.tflite"
    path.write_bytes(Chain((1, 6), layers).build(tmp_path).to_bytes())
    return path


def test_each_layer_has_its_verdict(
    tmp_path: Path, uneven: Path, run: Command, write_recipe: Callable[..., Path]
) -> None:
    np.save(tmp_path / "rows.npy", RNG.normal(size=(120, 6)).astype(np.float32))
    dataset = {"format": {"type": "npy"}, "calibration": {"path": str(tmp_path / "rows.npy"), "samples": 120}}
    grid = {"scheme": "int8", "per_channel": False}
    variants = [
        {**grid, "name": "balanced", "weights": {"equalize": True}},
        {"scheme": "int8", "name": "rounded", "weights": {"rounding": "compensated"}, "exclude": ["t1"]},
    ]
    ended = run("convert", write_recipe(uneven, dataset, variants), "-q")
    assert ended.code == 0, ended.err
    report: dict[str, Any] = json.loads((tmp_path / "out/t/report.json").read_text(encoding="utf-8"))
    balanced, rounded = (
        [(one["layer"], one["op"], one["status"], one["reason"]) for one in variant["correction"]["weights"]]
        for variant in report["variants"][1:]
    )
    # sqrt(range of the first's channel over range of the second's column): from 0.03 to 30 times a random number of 1
    (first, op, status, reason), *others = balanced
    assert (first, op, status) == ("t0", "FULLY_CONNECTED", "kept")
    assert reason.startswith("balanced with t1: channels divided here and multiplied there by ")
    smallest, largest = (float(word) for word in reason.split(" by ")[1].split(" to "))
    assert smallest < 0.1 and largest > 10
    assert others == [
        ("t1", "FULLY_CONNECTED", "skipped", "not balanced: its output is an output of the model"),
        ("t0", "FULLY_CONNECTED", "kept", "nearest rounding, range max"),
        ("t1", "FULLY_CONNECTED", "kept", "nearest rounding, range max"),
    ]
    (done, left) = rounded
    assert done[:2] == ("t0", "FULLY_CONNECTED") and done[2] in ("kept", "refused")
    assert done[3].startswith("compensated rounding, range max: the error of its output falls by ")
    assert left == ("t1", "FULLY_CONNECTED", "skipped", "it stays in float")
    (note,) = [note for note in report["variants"][2]["notes"] if note.startswith("weights: ")]
    assert note.startswith(f"weights: {done[2]}, ")
    for file in ("report.md", "report.html"):
        text = (tmp_path / "out/t" / file).read_text(encoding="utf-8")
        assert "it stays in float" in text and "balanced with t1" in text


def test_what_narrower_ranges_clip_is_told_of_each(tmp_path: Path) -> None:
    """Of |x|, evenly in 0..1, a percentile of 90 keeps 0..0.9; half a step of 255 counts as within."""
    for name in ("cal", "eval"):
        (tmp_path / name).mkdir()
        for place in range(20):
            np.save(tmp_path / name / f"{place:02}.npy", RNG.permutation(np.linspace(0, 1, 1000)).astype(np.float32))
    data = {"calibration": {"path": str(tmp_path / "cal")}, "evaluation": {"path": str(tmp_path / "eval")}}
    request = Prepare(
        model=str(identity(tmp_path / "m.tflite", (1, 1000))),
        variant=Variant.model_validate({"scheme": "int8"}),
        methods=("mse", Percentile(percentile=90)),
        targets=(str(tmp_path / "mse.tflite"), str(tmp_path / "percentile.tflite")),
        reference=str(tmp_path / "reference.tflite"),
        inputs=(TensorInfo(name="x", shape=(1, 1000), dtype="float32"),),
        dataset=Dataset.model_validate({"format": {"type": "npy"}, **data}),
    )
    by_mse, by_percentile = prepare(request, lambda done, total: None).saturation
    assert by_mse == ""
    assert by_percentile.startswith("2 activations saturate on evaluation samples, up to 9.8")  # 10 % less 0.9 / 510
    assert by_percentile.endswith("or on a wider range (method minmax)")
