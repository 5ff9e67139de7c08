"""Intervals, paired tests and classes of one pass, held against scipy, scikit-learn and counting by hand."""

import base64
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import Command
from PIL import Image
from scipy.stats import binomtest, bootstrap
from sklearn.metrics import roc_auc_score
from tiny_tflite import File, Graph, Op, Sig, T

from tflite_ptq.data.index import SampleRef
from tflite_ptq.data.thumbnail import thumbnail
from tflite_ptq.measure.classification import classify
from tflite_ptq.measure.evaluation import Evaluation, EvaluationRun
from tflite_ptq.measure.significance import figures
from tflite_ptq.recipe.metric import Metric

ROOT = Path("samples")
LABELS = np.array([0, 0, 0, 0, 1, 1, 1, 2, 2, 2])
BEFORE = np.array([0, 0, 0, 1, 1, 1, 2, 2, 2, 0])  # 7 right
AFTER = np.array([0, 1, 2, 0, 1, 1, 2, 2, 0, 0])  # loses 1, 2 and 8, mends 3
REFS = [SampleRef(file=ROOT / f"{i}.npy", index=None, label=int(label), root=ROOT) for i, label in enumerate(LABELS)]


def evaluation(predicted: np.ndarray | None = None, margins: np.ndarray | None = None, **scores: Any) -> Evaluation:
    arrays = {key: np.asarray(values, np.float64) for key, values in scores.items()}
    means = {key: float(values.mean()) for key, values in arrays.items()}
    return Evaluation(means, {}, arrays, predicted, margins, None, len(REFS))


def measured(metric: str, refs: list[SampleRef] = REFS, **models: Evaluation) -> dict[str, Any]:
    found = figures(EvaluationRun(models, (), refs), [Metric.model_validate(metric)], [metric], "float32")
    return {name: one[metric] for name, one in found.items()}


def test_top1_by_scipy() -> None:
    found = measured("top1", float32=evaluation(top1=BEFORE == LABELS), int8=evaluation(top1=AFTER == LABELS))
    wilson = binomtest(7, 10).proportion_ci(method="wilson")
    first, second = found["float32"], found["int8"]
    assert (first.value, first.change, first.p_value, first.test) == (0.7, None, None, None)
    assert (first.interval.low, first.interval.high) == pytest.approx((wilson.low, wilson.high))
    assert second.change == pytest.approx(-0.2)
    assert (second.test, second.p_value) == ("mcnemar", pytest.approx(binomtest(3, 4).pvalue))
    assert second.change_interval.low < -0.2 < second.change_interval.high


def test_a_mean_is_resampled_in_pairs() -> None:
    rng = np.random.default_rng(0)
    refs = [SampleRef(file=ROOT / f"{i}.npy", index=None, label=0, root=ROOT) for i in range(200)]
    base = rng.gamma(2, 3, 200)
    worse = base + rng.normal(0.05, 0.1, 200)
    found = measured("mae", refs, float32=evaluation(mae=base), int8=evaluation(mae=worse))
    other = bootstrap((worse - base,), np.mean, n_resamples=5000, method="percentile", rng=1).confidence_interval
    change = found["int8"].change_interval
    # The samples differ far more from each other than the models do: only pairs show the change.
    assert (change.low, change.high) == pytest.approx((other.low, other.high), abs=0.004)
    assert change.low > 0 and found["int8"].p_value < 0.01 and found["int8"].test == "paired-bootstrap"
    assert found["float32"].interval.low < found["int8"].value < found["float32"].interval.high


def test_a_change_has_no_direction_of_its_own() -> None:
    one, other = evaluation(mae=BEFORE), evaluation(mae=AFTER)
    forth = measured("mae", float32=one, int8=other)["int8"]
    back = measured("mae", float32=other, int8=one)["int8"]
    assert (forth.change_interval.low, forth.change_interval.high) == pytest.approx(
        (-back.change_interval.high, -back.change_interval.low)
    )
    assert forth.p_value == back.p_value


def test_nothing_changed_and_one_sample() -> None:
    same = measured("mae", float32=evaluation(mae=BEFORE), int8=evaluation(mae=BEFORE))["int8"]
    assert (same.change, same.p_value) == (0, 1)
    assert (same.change_interval.low, same.change_interval.high) == (0, 0)
    alone = measured("mae", REFS[:1], float32=evaluation(mae=[2.0]), int8=evaluation(mae=[3.0]))["int8"]
    assert (alone.value, alone.change, alone.interval, alone.p_value, alone.test) == (3, 1, None, None, None)
    hit = measured("top1", REFS[:1], float32=evaluation(top1=[1.0]), int8=evaluation(top1=[1.0]))["int8"]
    assert hit.interval.high == 1 and hit.interval.low < 0.3 and hit.p_value == 1


def test_roc_auc_and_its_yardstick_that_failed() -> None:
    scores = np.arange(10) + np.array([0, 5, 0, 0, 0, 0, 3, 0, 0, 0])
    labels = LABELS > 0
    refs = [SampleRef(file=ref.file, index=None, label=int(y), root=ROOT) for ref, y in zip(REFS, labels, strict=True)]
    area = roc_auc_score(labels, scores)
    one = Evaluation({"roc_auc": area}, {}, {"roc_auc": scores.astype(float)}, None, None, None, 10)
    found = measured("roc_auc", refs, int8=one)["int8"]
    assert found.value == area and found.change is None and found.interval.low <= area <= found.interval.high


def test_classes_by_hand() -> None:
    margins = np.array([0, 0.1, 0.9, 0, 0, 0, 0.2, 0, 0.5, 0.3])
    found = classify(evaluation(AFTER, margins), evaluation(BEFORE, margins), REFS, ("cat", "dog", "cow"))
    assert found is not None
    assert found.confusion == ((2, 1, 1), (0, 2, 1), (2, 0, 1))
    cat = found.classes[0]
    assert (cat.name, cat.samples, cat.recall, cat.precision, cat.f1) == ("cat", 4, 0.5, 0.5, 0.5)
    assert [one.change for one in found.classes] == pytest.approx([0.5 - 0.75, 0, 1 / 3 - 2 / 3])
    assert (found.regressed, found.mended) == (3, 1)
    assert [(one.sample, one.expected, one.predicted, one.margin) for one in found.regressions] == [
        ("2.npy", "cat", "cow", 0.9),
        ("8.npy", "cow", "cat", 0.5),
        ("1.npy", "cat", "dog", 0.1),
    ]


def test_classes_without_samples_names_or_yardstick() -> None:
    predicted = np.array([4, *AFTER[1:]])
    found = classify(evaluation(predicted, np.zeros(10)), None, REFS, None)
    assert found is not None
    assert [one.name for one in found.classes] == ["0", "1", "2", "3", "4"]
    never = found.classes[3]
    assert (never.samples, never.recall, never.precision, never.f1, never.change) == (0, None, None, None, None)
    assert (found.classes[4].precision, found.classes[4].recall) == (0, None)
    assert (found.regressed, found.regressions) == (None, ())
    assert classify(evaluation(None, None), None, REFS, None) is None


def test_many_classes_and_regressions_are_bounded() -> None:
    refs = [SampleRef(file=ROOT / f"{i:03}.npy", index=None, label=i, root=ROOT) for i in range(150)]
    right = np.arange(150)
    found = classify(evaluation(right[::-1], np.linspace(1, 2, 150)), evaluation(right, np.zeros(150)), refs, None)
    assert found is not None
    assert found.confusion == () and len(found.classes) == 150 and found.regressed == 150
    assert [one.sample for one in found.regressions] == [f"{i:03}.npy" for i in range(149, 125, -1)]


def test_thumbnail(tmp_path: Path) -> None:
    Image.linear_gradient("L").resize((400, 100)).convert("RGB").save(tmp_path / "wide ñ.jpg")
    data = thumbnail(tmp_path / "wide ñ.jpg")
    assert data.startswith("data:image/png;base64,")
    image = Image.open(io.BytesIO(base64.b64decode(data.partition(",")[2])))
    assert (image.format, image.size) == ("PNG", (96, 24))
    assert abs(int(image.convert("L").getpixel((48, 23))) - 255) < 12  # type: ignore[arg-type]


@pytest.fixture
def two_models(tmp_path: Path) -> tuple[Path, Path]:
    """y = x and y = -x over (1, 4), with inputs of unlike names."""
    made = []
    for name, ops in (("same", ("ABS",)), ("turned", ("ABS", "NEG"))):
        tensors = [T(f"t{i}") for i in range(len(ops) + 1)]
        steps = [Op(op, (f"t{i}",), (f"t{i + 1}",)) for i, op in enumerate(ops)]
        graph = Graph(tensors, ["t0"], [tensors[-1].name], steps)
        signature = Sig("serving_default", {f"in_{name}": "t0"}, {"y": tensors[-1].name})
        made.append(File([graph], [signature]).write(tmp_path / f"{name}.tflite"))
    return made[0], made[1]


def test_benchmark_compares_files_in_pairs(
    two_models: tuple[Path, Path], vectors: Path, tmp_path: Path, run: Command, write_recipe: Callable[..., Path]
) -> None:
    """On ``vectors`` |x| is right on all 12 samples, -|x| where one of the three zeros comes first: on none."""
    (tmp_path / "y.csv").write_text("".join(f"{i:02},{i % 4}\n" for i in range(12)))
    recipe = write_recipe(
        two_models[0], {"format": {"type": "npy"}, "evaluation": {"path": str(vectors), "labels": "y.csv"}}
    )
    ended = run("benchmark", *two_models, "--recipe", recipe, "--no-latency", "--json")
    assert ended.code == 0, ended.err
    first, second = json.loads(ended.out)
    assert first["accuracy"]["top1"]["value"] == 1 and first["accuracy"]["top1"]["change"] is None
    top1 = second["accuracy"]["top1"]
    assert (top1["value"], top1["change"], top1["test"]) == (0, -1, "mcnemar")
    assert top1["p_value"] == pytest.approx(2 / 2**12)
    assert second["classes"]["regressed"] == 12
    worst = second["classes"]["regressions"][0]
    assert (worst["sample"], worst["expected"], worst["margin"], worst["thumbnail"]) == ("11.npy", "3", 12, None)


@pytest.mark.parametrize(
    ("latency", "options", "timed"),
    [
        ("null", [], []),
        ("{delegates: xnnpack, threads: [1, 2], runs: 1, max_seconds: 0.1}", [], [("xnnpack", 1), ("xnnpack", 2)]),
        (
            "{delegates: xnnpack, threads: [1, 2], runs: 1, max_seconds: 0.1}",
            ["--delegate", "cpu"],
            [("cpu", 1), ("cpu", 2)],
        ),
        ("null", ["--delegate", "cpu", "--runs", "1", "--max-seconds", "0.1"], [("cpu", 1)]),
    ],
)
def test_benchmark_times_as_the_recipe_says(
    latency: str,
    options: list[str],
    timed: list[tuple[str, int]],
    two_models: tuple[Path, Path],
    run: Command,
    write_recipe: Callable[..., Path],
) -> None:
    recipe = write_recipe(two_models[0], None)
    setting = f"benchmark.latency={latency}"
    ended = run("benchmark", two_models[0], "--recipe", recipe, "--set", setting, *options, "--json")
    assert ended.code == 0, ended.err
    (found,) = json.loads(ended.out)
    assert [(one["delegate"], one["threads"]) for one in found["latency"] or ()] == timed
