"""One pass over the samples for all models: figures, order, bad samples, failing models."""

import os
import threading
from collections.abc import Mapping
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from tiny_tflite import File, Graph, Op, T

from tflite_ptq.data.bad_sample import BadSample
from tflite_ptq.data.index import SampleRef
from tflite_ptq.data.piece import one_by_one
from tflite_ptq.errors import DataError, MeasurementError, ModelError
from tflite_ptq.measure.classes import chosen, margins
from tflite_ptq.measure.evaluate import evaluate
from tflite_ptq.measure.evaluation import Evaluation, EvaluationRun
from tflite_ptq.recipe.metric import Metric

REAL = Path(os.environ.get("TFLITE_PTQ_REAL_DATA", Path(__file__).parents[2] / "shared" / "data"))
ROOT = Path("samples")
COUNT, CLASSES = 150, 6
VALUES = np.random.default_rng(1).normal(0, 1, (COUNT, CLASSES)).astype(np.float32)
LABELS = np.random.default_rng(2).integers(0, CLASSES, COUNT)
REFS = [SampleRef(file=ROOT / f"{i:03}.npy", index=None, label=int(LABELS[i]), root=ROOT) for i in range(COUNT)]


def read(ref: SampleRef) -> Mapping[str, np.ndarray]:
    return {"x": VALUES[int(ref.file.stem)][None]}


def model(path: Path, *ops: Op, outputs: tuple[str, ...] = ("y",)) -> Path:
    names = {"x", *(name for op in ops for name in op.outputs)}
    tensors = [T(name, shape=(1, CLASSES)) for name in sorted(names)]
    return File([Graph(tensors, ["x"], list(outputs), list(ops))]).write(path)


@pytest.fixture
def models(tmp_path: Path) -> dict[str, Path]:
    """float32 puts out its input; the other rounds it, which is a coarse quantization."""
    return {
        "rounded": model(tmp_path / "r.tflite", Op("ROUND", ["x"], ["y"])),
        "float32": model(tmp_path / "f.tflite", Op("NEG", ["x"], ["n"]), Op("NEG", ["n"], ["y"])),
    }


def run(models: Mapping[str, Path], *metrics: str | Metric, refs=REFS, reader=read, threads=2, on_bad="stop", **more):  # type: ignore[no-untyped-def]
    wanted = [Metric.model_validate(name) for name in metrics]
    reads = partial(one_by_one, reader)
    progress = more.get("progress", lambda done, total: None)
    return evaluate(models, refs, reads, wanted, threads, on_bad, progress, more.get("folder", ROOT))


def good(outcome: EvaluationRun, name: str) -> Evaluation:
    found = outcome.results[name]
    assert isinstance(found, Evaluation), found
    return found


def test_figures_by_numpy(models: dict[str, Path]) -> None:
    outcome = run(models, "top1", "top5", "reconstruction_mse")
    rounded = np.rint(VALUES)
    exact, coarse = good(outcome, "float32"), good(outcome, "rounded")
    assert exact.metrics["top1"] == pytest.approx(np.mean(VALUES.argmax(1) == LABELS))
    assert coarse.metrics["top1"] == pytest.approx(np.mean(rounded.argmax(1) == LABELS))
    assert coarse.metrics["reconstruction_mse"] == pytest.approx(np.mean((rounded - VALUES) ** 2, dtype=np.float64))
    assert exact.scores["top1"].tolist() == (VALUES.argmax(1) == LABELS).astype(float).tolist()
    assert exact.fidelity is None
    assert coarse.fidelity is not None
    wide = VALUES.astype(np.float64)
    assert coarse.fidelity.sqnr_db == pytest.approx(10 * np.log10((wide**2).sum() / ((wide - rounded) ** 2).sum()))
    assert coarse.fidelity.agreement is None  # these models put out their input: its largest value is no class
    assert (outcome.samples, outcome.skipped) == (COUNT, ())


@pytest.mark.parametrize("threads", [1, 2])
def test_several_outputs_are_told_apart(tmp_path: Path, threads: int) -> None:
    back = [Op("NEG", ["x"], ["n"]), Op("NEG", ["n"], ["y"])]
    models = {
        "float32": model(tmp_path / "f.tflite", *back, outputs=("n", "y")),
        "half": model(tmp_path / "h.tflite", Op("NEG", ["x"], ["n"]), Op("ROUND", ["x"], ["y"]), outputs=("n", "y")),
    }
    fidelity = good(run(models, threads=threads), "half").fidelity
    assert fidelity is not None and fidelity.sqnr_db is not None
    wide, noise = VALUES.astype(np.float64), ((VALUES.astype(np.float64) - np.rint(VALUES)) ** 2).sum()
    assert fidelity.outputs_sqnr_db == {"n": None, "y": pytest.approx(10 * np.log10((wide**2).sum() / noise))}
    assert fidelity.sqnr_db == pytest.approx(10 * np.log10(2 * (wide**2).sum() / noise))


def test_the_number_of_threads_changes_nothing(models: dict[str, Path]) -> None:
    runs = [run(models, "top1", "reconstruction_mse", "roc_auc", threads=threads) for threads in (1, 2, 5)]
    figures = [(good(one, "rounded").metrics, good(one, "rounded").fidelity) for one in runs]
    assert figures[0] == figures[1] == figures[2]


def test_progress_reaches_the_end_and_never_runs_twice_at_once(models: dict[str, Path]) -> None:
    seen: list[int] = []
    alone = threading.Lock()

    def progress(done: int, total: int) -> None:
        assert alone.acquire(blocking=False)
        assert total == COUNT
        seen.append(done)
        alone.release()

    run(models, threads=3, progress=progress)
    assert seen == sorted(seen)
    assert seen[-1] == COUNT


def _bad_at(*indices: int):  # type: ignore[no-untyped-def]
    def reader(ref: SampleRef) -> Mapping[str, np.ndarray]:
        if int(ref.file.stem) in indices:
            raise BadSample(f"{ref.file}: broken")
        return read(ref)

    return reader


@pytest.mark.parametrize("threads", [1, 2, 4])
def test_bad_samples(models: dict[str, Path], threads: int) -> None:
    with pytest.raises(BadSample) as caught:
        run(models, "top1", reader=_bad_at(149, 40, 90), threads=threads)
    assert str(caught.value) == f"{REFS[40].file}: broken"  # the first in order
    outcome = run(models, "top1", reader=_bad_at(149, 40, 90), threads=threads, on_bad="skip")
    assert [one.sample for one in outcome.skipped] == ["040.npy", "090.npy", "149.npy"]
    kept = [i for i in range(COUNT) if i not in (40, 90, 149)]
    assert outcome.samples == COUNT - 3
    assert good(outcome, "float32").metrics["top1"] == pytest.approx(np.mean(VALUES.argmax(1)[kept] == LABELS[kept]))
    with pytest.raises(DataError, match=r"all 150 samples were skipped; the first: .*000.npy: broken"):
        run(models, reader=_bad_at(*range(COUNT)), threads=threads, on_bad="skip")


def test_labels(models: dict[str, Path]) -> None:
    refs = [*REFS[:5], SampleRef(file=ROOT / "005.npy", index=None, label=None, root=ROOT)]
    with pytest.raises(DataError, match=r"005.npy: has no label, and metric top1 needs one"):
        run(models, "top1", refs=refs)
    assert good(run(models, "reconstruction_mae", refs=refs), "float32").metrics == {"reconstruction_mae": 0}
    refs = [*REFS[:5], SampleRef(file=ROOT / "005.npy", index=None, label=CLASSES, root=ROOT)]
    with pytest.raises(DataError, match=r"005.npy: label 6 is out of range: the output has 6 classes \(0 to 5\)"):
        run(models, "top1", refs=refs)
    with pytest.raises(DataError, match="no sample to evaluate"):
        run(models, "top1", refs=[])


@pytest.mark.parametrize("threads", [1, 2, 4])
def test_a_model_that_fails_costs_itself_alone(models: dict[str, Path], threads: int, tmp_path: Path) -> None:
    # sqrt of a negative value is NaN; sample 0 is made positive, so the first to fail is sample 1.
    root = model(tmp_path / "s.tflite", Op("SQRT", ["x"], ["y"]))
    (tmp_path / "broken.tflite").write_bytes(b"nothing" * 99)

    def positive_first(ref: SampleRef) -> Mapping[str, np.ndarray]:
        return {"x": np.abs(read(ref)["x"])} if ref is REFS[0] else read(ref)

    everything = {**models, "root": root, "broken": tmp_path / "broken.tflite"}
    outcome = run(everything, "top1", reader=positive_first, threads=threads)
    negative = int((VALUES[1] < 0).sum())
    failed = outcome.results["root"]
    assert isinstance(failed, MeasurementError)
    assert str(failed) == (
        f"{root}: output 'y' of root holds {negative} NaN or infinite values of 6 on sample 001.npy; "
        "check the model and the preprocessing with that sample"
    )
    assert isinstance(outcome.results["broken"], ModelError)
    assert good(outcome, "rounded").fidelity is not None
    alone = run({"float32": root, "rounded": models["rounded"]}, "top1", threads=threads)
    assert good(alone, "rounded").notes == ("fidelity is not measured: float32 failed on these samples",)
    assert good(alone, "rounded").metrics.keys() == {"top1"}


def test_a_metric_that_fails_costs_itself_alone(tmp_path: Path) -> None:
    path = model(tmp_path / "m.tflite", Op("NEG", ["x"], ["a"]), Op("ABS", ["x"], ["b"]), outputs=("a", "b"))
    (tmp_path / "own_metric.py").write_text(
        "def shapes(outputs, labels):\n    return outputs['a'].shape[0] + labels[0]\n\n\n"
        "def bad(outputs, labels):\n    return 1 / 0\n"
    )
    found = good(run({"m": path}, "top1", "own_metric:shapes", "own_metric:bad", folder=tmp_path), "m")
    assert found.metrics == {"own_metric:shapes": COUNT + LABELS[0]}
    assert {key: str(error) for key, error in found.failed.items()} == {
        "top1": "metric top1: the model has 2 outputs (a, b); say which one is scored: {name: top1, output: a}",
        "own_metric:bad": "metric own_metric:bad: the function failed on 150 samples: "
        "ZeroDivisionError: division by zero (own_metric.py:6)",
    }
    named = Metric(name="top1", output="b")
    outcome = run({"m": path}, named)
    assert good(outcome, "m").metrics["top1"] == pytest.approx(np.mean(np.abs(VALUES).argmax(1) == LABELS))


@pytest.mark.skipif(not REAL.is_dir(), reason=f"no real data at {REAL} (TFLITE_PTQ_REAL_DATA)")
def test_published_keyword_model_scores_as_published() -> None:
    folder = REAL / "mlperf_tiny/kws/features"
    rows = [line.split(",") for line in (folder / "y_labels.csv").read_text().split()]
    refs = [SampleRef(file=folder / row[0], index=None, label=int(row[2]), root=folder) for row in rows]

    def stored(ref: SampleRef) -> Mapping[str, np.ndarray]:
        values = np.fromfile(ref.file, np.int8).reshape(1, 49, 10, 1).astype(np.float32)
        return {"input_1": (values - 83) * np.float32(0.5847029089927673)}

    models = {"published": REAL / "mlperf_tiny/kws/kws_ref_model.tflite"}
    outcome = run(models, "top1", refs=refs, reader=stored)
    # 0.902 with the plain kernels; XNNPACK rounds differently here and there.
    assert good(outcome, "published").metrics["top1"] == pytest.approx(0.902, abs=0.003)


@pytest.mark.parametrize("threads", [1, 3])
def test_classes_and_margins_by_sample(tmp_path: Path, threads: int) -> None:
    path = model(tmp_path / "a.tflite", Op("ABS", ["x"], ["y"]))
    found = good(run({"float32": path}, "top1", threads=threads, reader=_bad_at(3), on_bad="skip"), "float32")
    kept = [i for i in range(COUNT) if i != 3]
    scores, labels = np.abs(VALUES[kept]).astype(np.float64), LABELS[kept]
    assert found.predicted is not None
    assert found.margins is not None
    assert found.predicted.tolist() == scores.argmax(1).tolist()
    assert found.margins == pytest.approx(scores.max(1) - scores[np.arange(len(kept)), labels])
    assert ((found.margins == 0) == (found.predicted == labels)).all()
    assert (found.scores["top1"] == (found.predicted == labels)).all()


def test_without_labels_or_class_scores(models: dict[str, Path], tmp_path: Path) -> None:
    assert good(run(models), "float32").predicted is None  # its output has the input's shape: a reconstruction
    refs = [SampleRef(file=ref.file, index=None, label=None, root=ROOT) for ref in REFS]
    picks = np.zeros((2, CLASSES), np.float32)
    picks[0, 0] = picks[1, 4] = 1
    tensors = [T("x", shape=(1, CLASSES)), T("w", shape=picks.shape, data=picks.tobytes()), T("y", shape=(1, 2))]
    dense = Op("FULLY_CONNECTED", ["x", "w", None], ["y"])
    path = File([Graph(tensors, ["x"], ["y"], [dense])]).write(tmp_path / "d.tflite")
    found = good(run({"float32": path}, refs=refs), "float32")
    assert found.predicted is not None
    assert found.predicted.tolist() == (VALUES[:, 4] > VALUES[:, 0]).astype(int).tolist()
    assert found.margins is None


def test_margins_of_one_probability() -> None:
    scores = np.array([[0.9], [0.2], [0.5]])
    assert chosen(scores).tolist() == [1, 0, 0]
    assert margins(scores, chosen(scores), np.array([0, 0, 1])) == pytest.approx([0.8, 0.0, 0.0])
    assert chosen(np.array([[0.5, 0.5, 0.1]])).tolist() == [0]
