"""Some samples for all: which of the calibration samples stand for the others."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from identity_model import identity

from tflite_ptq.data.index import SampleRef
from tflite_ptq.model.editing import Editable
from tflite_ptq.recipe.dataset import Dataset
from tflite_ptq.recipe.schema import Variant, Weights
from tflite_ptq.result import TensorInfo
from tflite_ptq.worker.calibration_messages import Prepare
from tflite_ptq.worker.chosen import spread
from tflite_ptq.worker.preparing import prepare

INPUT = TensorInfo(name="x", shape=(1, 8), dtype="float32", scale=None, zero_point=None)


@pytest.mark.parametrize(
    ("total", "most"), [(200, 128), (255, 128), (256, 128), (511, 256), (3, 128), (1000, 1), (7, 7)]
)
def test_the_samples_are_spread_over_all(total: int, most: int) -> None:
    refs = [SampleRef(Path(f"{place}.npy"), None, None, Path()) for place in range(total)]
    places = [int(ref.file.stem) for ref in spread(refs, most)]
    assert len(places) == min(total, most)
    gaps = np.diff([*places, total])
    assert gaps.min() >= 1 and gaps.max() <= -(-total // len(places))
    assert places[0] == 0


def test_no_samples() -> None:
    assert list(spread([], 5)) == []


@pytest.fixture
def loud_at_the_end(tmp_path: Path) -> Prepare:
    """Samples whose values are 0.2 but for the last 60 of 200, as where folders of classes are read in order; and one
    of 5, which is not among 128 of 200."""
    (tmp_path / "samples").mkdir()
    for place in range(200):
        value = 5.0 if place == 2 else 1.0 if place >= 140 else 0.2
        np.save(tmp_path / f"samples/{place:03}.npy", np.linspace(0, value, 8, dtype=np.float32))
    calibration = {"path": str(tmp_path / "samples"), "samples": 200}
    return Prepare(
        model=str(identity(tmp_path / "m.tflite", (1, 8))),
        variant=Variant.model_validate({"scheme": "int8"}),
        weights=Weights(),
        methods=("mse",),
        targets=(str(tmp_path / "ranges.tflite"),),
        reference=str(tmp_path / "reference.tflite"),
        inputs=(INPUT,),
        dataset=Dataset.model_validate({"format": {"type": "npy"}, "calibration": calibration}),
    )


def _limits(request: Prepare) -> tuple[float, float] | None:
    prepare(request, lambda done, total: None)
    model = Editable(Path(request.targets[0]).read_bytes())
    return model.limits(model.inputs[0])


def test_other_ranges_are_tried_on_samples_of_all(loud_at_the_end: Prepare) -> None:
    assert _limits(loud_at_the_end) == pytest.approx((0.0, 1.0))


def test_a_method_asked_for_by_name_sees_all_samples(loud_at_the_end: Prepare) -> None:
    calibration = loud_at_the_end.dataset.calibration
    assert calibration is not None
    calibration = calibration.model_copy(update={"overrides": {"x": "minmax"}})
    dataset = loud_at_the_end.dataset.model_copy(update={"calibration": calibration})
    assert _limits(loud_at_the_end.model_copy(update={"dataset": dataset})) == pytest.approx((0.0, 5.0))
