"""Chunks change nothing: outputs, figures and the sample that is at fault are those of one sample at a time."""

from functools import partial
from pathlib import Path

import numpy as np
import pytest
from tiny_tflite import File, Graph, Op, T, int8_dense

from tflite_ptq.data.index import SampleRef
from tflite_ptq.data.piece import one_by_one
from tflite_ptq.errors import DataError, MeasurementError
from tflite_ptq.measure import evaluate as stage
from tflite_ptq.measure.columns import Columns
from tflite_ptq.measure.crew import FORKS, together
from tflite_ptq.measure.evaluation import Evaluation
from tflite_ptq.model.interpreter import Runner
from tflite_ptq.recipe.schema import Metric

COUNT = 100
VALUES = np.random.default_rng(3).normal(0, 2, (COUNT, 1, 4)).astype(np.float32)
ROOT = Path("samples")
REFS = [SampleRef(ROOT / f"{i}.npy", None, i % 4, ROOT) for i in range(COUNT)]


def elementwise(path: Path, op: str, shape: tuple[int, ...] = (1, 4)) -> Path:
    tensors = [T(name, shape=shape, shape_signature=shape) for name in ("x", "y")]
    return File([Graph(tensors, ["x"], ["y"], [Op(op, ["x"], ["y"])])]).write(path)


def test_several_inferences_are_single_ones(tmp_path: Path) -> None:
    runner = Runner(int8_dense(tmp_path / "d.tflite"), "xnnpack", 1)
    whole = runner.run_all({"features": VALUES})["scores"]
    assert whole.shape == (COUNT, 1, 2)
    for values, got in zip(VALUES, whole, strict=True):
        np.testing.assert_array_equal(runner.run({"features": values})["scores"], got)


@pytest.mark.parametrize("largest", [1, 3, 64])
def test_the_size_of_chunks_changes_nothing(largest: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stage, "_LARGEST_CHUNK", largest)
    monkeypatch.setattr(stage, "_FEWEST_CHUNKS", 1)
    models = {
        "float32": elementwise(tmp_path / "a.tflite", "ABS"),
        "coarse": elementwise(tmp_path / "c.tflite", "CEIL"),
    }
    asked: list[int] = []

    def read(refs):  # type: ignore[no-untyped-def]
        asked.append(len(refs))
        return one_by_one(lambda ref: {"x": VALUES[int(ref.file.stem)]}, refs)

    outcome = stage.evaluate(models, REFS, read, [Metric(name="top1")], 1, "stop", lambda done, total: None, ROOT)
    assert max(asked) == largest
    found = outcome.results["coarse"]
    assert isinstance(found, Evaluation)
    want, got = np.abs(VALUES[:, 0]).astype(np.float64), np.ceil(VALUES[:, 0]).astype(np.float64)
    assert found.predicted is not None
    assert found.predicted.tolist() == got.argmax(1).tolist()
    assert found.scores["top1"].tolist() == (got.argmax(1) == np.arange(COUNT) % 4).astype(float).tolist()
    assert found.fidelity is not None
    assert found.fidelity.sqnr_db == pytest.approx(10 * np.log10((want**2).sum() / ((want - got) ** 2).sum()))


@pytest.mark.parametrize("workers", [1, 2])
def test_the_first_fault_of_a_chunk_is_told(workers: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stage, "_FEWEST_CHUNKS", 1)
    models = {"m": elementwise(tmp_path / "s.tflite", "SQRT")}
    values = np.abs(VALUES)
    values[[70, 41]] = -1
    read = partial(one_by_one, lambda ref: {"x": values[int(ref.file.stem)]})
    tell = lambda done, total: None  # noqa: E731
    outcome = stage.evaluate(models, REFS, read, [], workers, "stop", tell, ROOT)
    assert isinstance(outcome.results["m"], MeasurementError)
    assert "holds 4 NaN or infinite values of 4 on sample 41.npy" in str(outcome.results["m"])
    # A label out of range before the NaN stops the pass, one behind it does not: the model is out of it by then.
    for place, stops in ((30, True), (50, False)):
        refs = [*REFS[:place], SampleRef(ROOT / f"{place}.npy", None, 9, ROOT), *REFS[place + 1 :]]
        if stops:
            with pytest.raises(DataError, match=f"{place}.npy: label 9 is out of range"):
                stage.evaluate(models, refs, read, [Metric(name="top1")], workers, "stop", tell, ROOT)
        else:
            again = stage.evaluate(models, refs, read, [Metric(name="top1")], workers, "stop", tell, ROOT)
            assert "on sample 41.npy" in str(again.results["m"])


def test_columns() -> None:
    columns, others, all_four = Columns(4), Columns(4), np.arange(4)
    columns.put("a", slice(1, 3), np.array([5.0, 6.0]))
    others.put("a", np.array([3, 0]), np.array([7.0, 8.0]))
    columns.put("shape", slice(0, 2), np.zeros((2, 3)))
    others.put("shape", slice(2, 4), np.zeros((2, 5)))
    assert np.isnan(columns.get("a", all_four)).tolist() == [True, False, False, True]  # type: ignore[arg-type]
    columns.absorb(others.rows(np.array([0, 3])))
    assert columns.get("a", all_four).tolist() == [8, 5, 6, 7]  # type: ignore[union-attr]
    assert columns.get("shape", all_four) is None
    assert columns.uneven == {"shape"}
    assert columns.get("never put", all_four) is None


@pytest.mark.skipif(not FORKS, reason="workers are threads here")
def test_a_crew_of_processes_leaves_no_results_behind() -> None:
    for _ in range(3):
        assert together(3, lambda number: np.full(200_000, number).sum()) == [0, 200_000, 400_000]
    with pytest.raises(DataError, match="of worker 1"):
        together(3, _failing)


def _failing(number: int) -> int:
    if number:
        raise DataError(f"of worker {number}")
    return 0
