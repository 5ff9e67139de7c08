"""Other weights: what is tried by default, what is kept, and what the report says of it layer by layer."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import Command
from float_chain import uneven_pair
from identity_model import identity

from tflite_ptq.model.editing import Editable
from tflite_ptq.recipe.dataset import Dataset, Percentile
from tflite_ptq.recipe.schema import Variant, Weights
from tflite_ptq.result import TensorInfo
from tflite_ptq.worker.calibration_messages import Prepare
from tflite_ptq.worker.preparing import prepare

RNG = np.random.default_rng(4)


@pytest.fixture
def uneven(tmp_path: Path) -> Path:
    return uneven_pair(tmp_path)


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
    (note,) = [note for note in report["variants"][2]["notes"] if note.startswith("weights ")]
    assert note.startswith(
        "weights compensated (" if done[2] == "kept" else "weights left to the converter: mean SQNR "
    )
    for file in ("report.md", "report.html"):
        text = (tmp_path / "out/t" / file).read_text(encoding="utf-8")
        assert "it stays in float" in text and "balanced with t1" in text


EQUALIZED = Weights(rounding="compensated", equalize=True)
COMPENSATED = Weights(rounding="compensated")


@pytest.mark.parametrize(
    ("variant", "expected"),
    [
        ({"scheme": "int8"}, (EQUALIZED, COMPENSATED)),
        ({"scheme": "int16x8"}, (EQUALIZED, COMPENSATED)),
        ({"scheme": "int8", "per_channel": False}, (EQUALIZED, COMPENSATED)),
        ({"scheme": "int8", "correction": "none"}, ()),
        ({"scheme": "int8", "correction": "one-pass"}, ()),
        ({"scheme": "int16x8", "correction": "sequential"}, ()),
        ({"scheme": "int8", "correction": "sequential", "per_channel": False}, (EQUALIZED,)),
        ({"scheme": "int8", "weights": {}}, ()),
        ({"scheme": "int8", "weights": {"range": "mse"}, "correction": "none"}, (Weights(range="mse"),)),
        ({"scheme": "dynamic"}, ()),
        ({"scheme": "float16"}, ()),
    ],
)
def test_which_weights_are_tried(variant: dict[str, object], expected: tuple[Weights, ...]) -> None:
    assert Variant.model_validate(variant).weightings == expected


def test_by_default_what_helps_is_kept(
    tmp_path: Path, uneven: Path, run: Command, write_recipe: Callable[..., Path]
) -> None:
    """Channels a thousand times apart leave the small ones no step of int8; balanced, they have them all."""
    dataset = {"format": {"type": "npy"}}
    for name, count in (("calibration", 120), ("evaluation", 80)):
        np.save(tmp_path / f"{name}.npy", RNG.normal(size=(count, 6)).astype(np.float32))
        dataset[name] = {"path": str(tmp_path / f"{name}.npy"), **({"samples": count} if count == 120 else {})}
    ended = run(
        "convert", write_recipe(uneven, dataset, ["int8", {"scheme": "int8", "name": "left", "weights": {}}]), "-q"
    )
    assert ended.code == 0, ended.err
    report: dict[str, Any] = json.loads((tmp_path / "out/t/report.json").read_text(encoding="utf-8"))
    _, made, left = report["variants"]
    (note,) = [note for note in made["notes"] if note.startswith("weights ")]
    told = re.fullmatch(
        r"weights equalized and compensated: "
        r"mean SQNR on 24 calibration samples held back: the converter's ([\d.]+) dB, equalized and compensated "
        r"([\d.]+) dB, compensated ([\d.]+) dB",
        note,
    )
    assert told, note
    plain, equalized, _ = map(float, told.groups())
    assert equalized > plain + 6
    assert made["fidelity"]["sqnr_db"] > left["fidelity"]["sqnr_db"] + 6
    assert {one["status"] for one in made["correction"]["weights"]} == {"kept", "skipped"}
    assert not left["correction"]["weights"] and not [note for note in left["notes"] if note.startswith("weights ")]


def test_of_few_samples_nothing_is_made_of_weights(
    tmp_path: Path, uneven: Path, run: Command, write_recipe: Callable[..., Path]
) -> None:
    """Rounding made for nine samples and judged on the same would always look better."""
    np.save(tmp_path / "rows.npy", RNG.normal(size=(9, 6)).astype(np.float32))
    dataset = {"format": {"type": "npy"}, "calibration": {"path": str(tmp_path / "rows.npy"), "samples": 9}}
    ended = run("convert", write_recipe(uneven, dataset, ["int8"]), "-q")
    assert ended.code == 0, ended.err
    report: dict[str, Any] = json.loads((tmp_path / "out/t/report.json").read_text(encoding="utf-8"))
    notes = [note for note in report["variants"][1]["notes"] if note.startswith("weights ")]
    assert notes == ["weights left to the converter: too few calibration samples to hold any back"]


@pytest.mark.parametrize(("equalize", "ranges"), [(True, "measured"), (False, "given")])
def test_ranges_are_measured_again_only_where_layers_are_balanced(
    tmp_path: Path, uneven: Path, equalize: bool, ranges: str
) -> None:
    np.save(tmp_path / "rows.npy", RNG.normal(size=(40, 6)).astype(np.float32))
    float32 = Editable(uneven.read_bytes())
    given = {tensor: (-3.0, float(tensor + 1)) for tensor in float32.activations()}
    (tmp_path / "ranged.tflite").write_bytes(float32.with_ranges(given))
    dataset = {"format": {"type": "npy"}, "calibration": {"path": str(tmp_path / "rows.npy"), "samples": 40}}
    request = Prepare(
        model=str(uneven),
        variant=Variant.model_validate({"scheme": "int8"}),
        weights=EQUALIZED if equalize else COMPENSATED,
        methods=(None,),
        ranged=str(tmp_path / "ranged.tflite"),
        targets=(str(tmp_path / "made.tflite"),),
        reference=str(tmp_path / "reference.tflite"),
        inputs=(TensorInfo(name="x", shape=(1, 6), dtype="float32"),),
        dataset=Dataset.model_validate(dataset),
    )
    assert prepare(request, lambda done, total: None).pairs == int(equalize)
    made = Editable((tmp_path / "made.tflite").read_bytes())
    found = {tensor: made.limits(tensor) for tensor in made.activations()}
    assert (found == given) is (ranges == "given")


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
        weights=Weights(),
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
