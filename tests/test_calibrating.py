"""What the calibration job says of the data, by the recipe's defaults."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from tiny_tflite import File, Graph, Op, T

from tflite_ptq.recipe.dataset import Dataset
from tflite_ptq.result import TensorInfo
from tflite_ptq.worker.calibrating import calibrate
from tflite_ptq.worker.calibration_messages import Calibrate

SHAPE = (1, 20, 10)


def asked(folder: Path, operator: str, calibration: list[np.ndarray], evaluation: list[np.ndarray]) -> Calibrate:
    graph = Graph([T("x", shape=SHAPE), T("y", shape=SHAPE)], ["x"], ["y"], [Op(operator, ("x",), ("y",))])
    dataset: dict[str, object] = {"format": {"type": "npy"}}
    for name, arrays in (("calibration", calibration), ("evaluation", evaluation)):
        (folder / name).mkdir(parents=True)
        for place, array in enumerate(arrays):
            np.save(folder / name / f"{place:03}.npy", array.astype(np.float32))
        if arrays:
            dataset[name] = {"path": str(folder / name)}
    return Calibrate(
        model=str(File([graph]).write(folder / "m.tflite")),
        inputs=(TensorInfo(name="x", shape=SHAPE, dtype="float32"),),
        dataset=Dataset.model_validate(dataset),
        target=str(folder / "calibrated.tflite"),
    )


def told(request: Calibrate, about: str) -> list[str]:
    return [one for one in calibrate(request, lambda done, total: None).findings if about in one]


def test_one_value_far_from_all_others_is_told(tmp_path: Path) -> None:
    """200 values a sample, of 60 samples; 0.9999 of 12,000 are all but one. It is not in the 32 samples looked at."""
    samples = [np.random.default_rng(place).random(SHAPE[1:]) for place in range(60)]
    assert told(asked(tmp_path / "good", "ABS", samples, []), "outliers") == []
    samples[2][3, 4] = 400
    (finding,) = told(asked(tmp_path / "odd", "ABS", samples, []), "outliers")
    assert finding.startswith("2 activations with extreme outliers: 99.98 % of the values share a small part of the")
    assert "about 1 of the 256 levels of int8 at worst (x: " in finding and "..400, nearly all within" in finding


def test_an_output_of_fixed_scale_does_not_saturate(tmp_path: Path) -> None:
    """tanh(0.5) = 0.46 is all that calibration sees, tanh(2) = 0.96 comes later: int8 holds up to 127 / 128."""
    quiet, loud = [np.full(SHAPE[1:], 0.5)] * 30, [np.full(SHAPE[1:], 2.0)] * 5
    (finding,) = told(asked(tmp_path / "fixed", "TANH", quiet, loud), "saturate")
    assert finding.startswith("1 activation saturates") and "(x: 100.00%)" in finding
    (finding,) = told(asked(tmp_path / "free", "ABS", quiet, loud), "saturate")
    assert finding.startswith("2 activations saturate")
