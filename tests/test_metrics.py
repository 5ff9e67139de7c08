"""Metrics against hand calculations and scikit-learn."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import (
    balanced_accuracy_score,
    f1_score,
    roc_auc_score,
    root_mean_squared_error,
    top_k_accuracy_score,
)

from tflite_ptq.errors import DataError, MeasurementError, UserError
from tflite_ptq.measure import custom
from tflite_ptq.measure.aggregates import aggregate
from tflite_ptq.measure.direction import higher_is_better, metric_keys
from tflite_ptq.measure.fidelity import noise_power, power, summarize
from tflite_ptq.measure.metrics import sample_score, sample_scores
from tflite_ptq.recipe.metric import Metric


def metric(name: str, **fields: str) -> Metric:
    return Metric.model_validate({"name": name, **fields})


def row(*values: float) -> np.ndarray:
    return np.array([values], np.float32)


@pytest.mark.parametrize(
    ("name", "output", "label", "expected"),
    [
        ("top1", row(0.1, 0.7, 0.2), 1, 1.0),
        ("top1", np.array([[3]], np.int64), 3, 1.0),  # of an arg max in the model: the class itself
        ("top1", np.array([3], np.int32), 1, 0.0),
        ("f1", np.array([[4]], np.uint8), 1, 4.0),
        ("top1", row(0.1, 0.7, 0.2), 2, 0.0),
        ("top1", row(0.5, 0.5), 0, 1.0),  # a tie goes to the lower index
        ("top1", row(0.5, 0.5), 1, 0.0),
        ("top1", row(0.6), 1, 1.0),
        ("top1", row(0.5), 1, 0.0),
        ("top1", row(0.5), 0, 1.0),
        ("top5", row(6, 5, 4, 3, 2, 1), 4, 1.0),
        ("top5", row(6, 5, 4, 3, 2, 1), 5, 0.0),
        ("top5", row(1, 1, 1, 1, 1, 1), 5, 0.0),
        ("mae", row(2.5), 4, 1.5),
        ("mse", row(2.5), 4.0, 2.25),
        ("rmse", row(2.5), 4.0, 2.25),
        ("f1", row(0.1, 0.7, 0.2), 2, 1.0),
        ("f1", row(0.6), 0, 1.0),  # the probability of class 1
        ("balanced_accuracy", row(0.5, 0.5), 1, 0.0),
    ],
)
def test_sample_by_hand(name: str, output: np.ndarray, label: float, expected: float) -> None:
    assert sample_score(metric(name), output, label, None, "a.jpg") == pytest.approx(expected)


def test_reconstruction_by_hand() -> None:
    output, fed = row(1, 2, 3), row(1, 4, 6)
    assert sample_score(metric("reconstruction_mae"), output, None, fed, "a") == pytest.approx(5 / 3)
    assert sample_score(metric("reconstruction_mse"), output, None, fed, "a") == pytest.approx(13 / 3)
    assert sample_score(metric("roc_auc", score="reconstruction_mse"), output, 1, fed, "a") == pytest.approx(13 / 3)


@pytest.mark.parametrize(
    ("name", "output", "label", "error", "message"),
    [
        (
            "top1",
            row(1, 2, 3),
            3,
            DataError,
            "a.jpg: label 3 is out of range: the output has 3 classes (0 to 2); correct the labels or dataset.classes",
        ),
        (
            "top1",
            row(1, 2),
            0.5,
            DataError,
            "a.jpg: label 0.5 is not a class index; use mae or mse for numeric targets",
        ),
        (
            "mae",
            row(1),
            None,
            DataError,
            "a.jpg: has no label, and metric mae needs one; set dataset.evaluation.labels",
        ),
        ("top5", row(1, 2, 3), 1, MeasurementError, "metric top5: the output has only 3 classes; use top1"),
        (
            "mse",
            row(1, 2),
            1,
            MeasurementError,
            "metric mse: a label is one number, the output has shape (1, 2); "
            "use reconstruction_mae or reconstruction_mse, or a module:function metric",
        ),
        (
            "reconstruction_mse",
            row(1, 2),
            None,
            MeasurementError,
            "metric reconstruction_mse: reconstruction compares the output with the input, but the output has shape "
            "(1, 2) and no single input of that shape; choose another metric",
        ),
    ],
)
def test_what_cannot_be_scored(
    name: str, output: np.ndarray, label: float | None, error: type[UserError], message: str
) -> None:
    with pytest.raises(error) as caught:
        sample_score(metric(name), output, label, None, "a.jpg")
    assert str(caught.value) == message


def _over(name: str, outputs: np.ndarray, labels: list[int] | list[float]) -> float:
    one = metric(name)
    return aggregate(one, sample_scores(one, outputs[:, None], labels, None, ["a"] * len(labels)), labels)


def test_over_samples_as_scikit_learn_has_it() -> None:
    rng = np.random.default_rng(0)
    outputs, labels = rng.random((200, 7)), [int(value) for value in rng.integers(0, 7, 200)]
    assert _over("top1", outputs, labels) == pytest.approx(np.mean(outputs.argmax(1) == labels))
    assert _over("top5", outputs, labels) == pytest.approx(top_k_accuracy_score(labels, outputs, k=5))
    rows = outputs / outputs.sum(1, keepdims=True)
    assert _over("roc_auc", rows, labels) == pytest.approx(roc_auc_score(labels, rows, multi_class="ovr"))
    chosen = outputs.argmax(1)
    assert _over("f1", outputs, labels) == pytest.approx(f1_score(labels, chosen, average="macro"))
    assert _over("balanced_accuracy", outputs, labels) == pytest.approx(balanced_accuracy_score(labels, chosen))
    numbers = [label + 0.5 for label in labels]
    assert _over("rmse", outputs[:, :1], numbers) == pytest.approx(root_mean_squared_error(numbers, outputs[:, 0]))
    binary = [label % 2 for label in labels]
    assert _over("roc_auc", outputs[:, :1], binary) == pytest.approx(roc_auc_score(binary, outputs[:, 0]))
    assert _over("roc_auc", outputs[:, :2], binary) == pytest.approx(roc_auc_score(binary, outputs[:, 1]))


def test_roc_auc_needs_two_classes() -> None:
    with pytest.raises(MeasurementError, match=r"all 3 samples have the same class \(1\)"):
        _over("roc_auc", np.ones((3, 1)), [1, 1, 1])


@pytest.mark.parametrize(
    ("body", "result"),
    [
        ("return 0.25", 0.25),
        ("return outputs['y'].shape[0]", 3),
        ("import numpy; return numpy.float32(labels.sum())", 3.0),
        ("return float('nan')", "metric {name}: the function returned nan on {must}"),
        ("return 'good'", "metric {name}: the function returned str 'good' on {must}"),
        ("return None", "metric {name}: the function returned NoneType None on {must}"),
        (
            "import numpy; return numpy.ones(2)",
            "metric {name}: the function returned an array of shape (2,) and dtype float64 on {must}",
        ),
        (
            "import numpy; return numpy.array([1, numpy.inf, 1])",
            "metric {name}: the function returned inf for sample 1 on {must}",
        ),
        ("return outputs['z']", "metric {name}: the function failed on 3 samples: KeyError: 'z' ({file}:2)"),
        ("raise SystemExit(3)", "metric {name}: the function failed on 3 samples: SystemExit: 3 ({file}:2)"),
    ],
)
def test_function_of_the_users(body: str, result: float | str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    module = f"custom_{abs(hash(request.node.name))}"
    (tmp_path / f"{module}.py").write_text(f"def f(outputs, labels):\n    {body}\n")
    name = f"{module}:f"
    function = custom.load(name, tmp_path)
    outputs, labels = {"y": np.zeros((3, 2), np.float32)}, np.array([0, 1, 2])
    if isinstance(result, str):
        with pytest.raises(MeasurementError) as caught:
            custom.measure(name, function, outputs, labels)
        must = "3 samples; it must return a finite number, or one a sample (3,)"
        assert str(caught.value) == result.format(name=name, file=f"{module}.py", must=must)
    else:
        assert custom.measure(name, function, outputs, labels).value == result


def test_function_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(MeasurementError, match="module 'no_such_thing' cannot be imported: ModuleNotFoundError"):
        custom.load("no_such_thing:f", tmp_path)
    (tmp_path / "empty_metric.py").write_text("")
    with pytest.raises(MeasurementError, match="has no function 'f'; define it there"):
        custom.load("empty_metric:f", tmp_path)


def test_direction_and_keys() -> None:
    assert [higher_is_better(name) for name in ("top1", "roc_auc", "my:score", "mae", "mse(a)")] == [
        True,
        True,
        True,
        False,
        False,
    ]
    metrics = [metric("top1"), metric("mae", output="a"), metric("mae", output="b")]
    assert metric_keys(metrics) == ("top1", "mae(a)", "mae(b)")


def test_fidelity_by_hand() -> None:
    # two samples of two outputs
    want = [np.array([[3.0, 4.0], [1.0, 0.0]]), np.array([[12.0], [2.0]])]
    got = [np.array([[3.0, 3.0], [1.0, 0.5]]), np.array([[12.5], [2.0]])]
    assert power(want).tolist() == [[25, 144], [1, 4]]
    assert noise_power(want, got).tolist() == [[1, 0.25], [0.25, 0]]
    both = summarize(power(want), noise_power(want, got), None, ("a", "b"))
    assert both.sqnr_db == pytest.approx(10 * np.log10(174 / 1.5))
    assert both.outputs_sqnr_db == {
        "a": pytest.approx(10 * np.log10(26 / 1.25)),
        "b": pytest.approx(10 * np.log10(148 / 0.25)),
    }
    odd = summarize(np.array([[2.0, 0.0, 1.0]]), np.array([[0.0, 1.0, 0.1]]), None, ("same", "noise on zero", "c"))
    assert odd.outputs_sqnr_db == {"same": None, "c": pytest.approx(10)}
    found = summarize(np.array([[169.0], [169.0]]), np.array([[1.69], [0.0]]), np.array([True, False]), ("a",))
    assert found.outputs_sqnr_db == {}
    assert found.sqnr_db == pytest.approx(10 * np.log10(200))
    assert (found.agreement, found.exact, found.samples) == (0.5, False, 2)
    exact = summarize(np.array([[1.0]]), np.array([[0.0]]), None)
    assert (exact.agreement, exact.sqnr_db, exact.exact) == (None, None, True)
    silent = summarize(np.array([[0.0]]), np.array([[1.0]]), None)
    assert (silent.sqnr_db, silent.exact) == (None, False)


def test_a_function_is_called_again_on_resamples() -> None:
    values = np.random.default_rng(4).normal(2, 1, (80, 1))
    labels = np.arange(80) % 2

    def spread(outputs: Mapping[str, np.ndarray], labels: np.ndarray | None) -> float:
        assert labels is not None
        return float(outputs["y"][labels == 1].mean() - outputs["y"][labels == 0].mean())

    found = custom.measure("m:spread", spread, {"y": values}, labels)
    assert found.value == pytest.approx(values[1::2].mean() - values[::2].mean())
    assert found.resampled is not None and found.resampled.shape == (200,)
    # The standard error of a difference of two means, by its formula.
    error = np.sqrt(values[1::2].var() / 40 + values[::2].var() / 40)
    assert found.resampled.std() == pytest.approx(error, rel=0.2)
    again = custom.measure("m:spread", spread, {"y": values}, labels)
    assert again.resampled is not None and (again.resampled == found.resampled).all()  # paired between models


def test_a_function_with_a_value_a_sample_and_one_that_is_slow(monkeypatch: pytest.MonkeyPatch) -> None:
    outputs = {"y": np.arange(6.0).reshape(6, 1)}
    each = custom.measure("m:each", lambda outputs, labels: outputs["y"][:, 0] > 3, outputs, None)
    assert each.value == pytest.approx(1 / 3)
    assert each.scores is not None and each.scores.tolist() == [0, 0, 0, 0, 1, 1]
    monkeypatch.setattr(custom, "_MOST_SECONDS", 0.0)
    slow = custom.measure("m:slow", lambda outputs, labels: 0.5, outputs, None)
    assert (slow.value, slow.scores, slow.resampled) == (0.5, None, None)


def test_a_resample_that_the_function_refuses_is_left_out() -> None:
    def needs_the_last(outputs: Mapping[str, np.ndarray], labels: np.ndarray | None) -> float:
        if 9 not in outputs["y"]:
            raise ValueError("no nine")
        return float(outputs["y"].mean())

    found = custom.measure("m:f", needs_the_last, {"y": np.arange(10.0).reshape(10, 1)}, None)
    assert found.resampled is not None
    missing = np.isnan(found.resampled).mean()
    assert missing == pytest.approx(0.9**10, abs=0.12)


def test_one_class_ranks_no_others() -> None:
    with pytest.raises(
        MeasurementError, match="metric top5: the output is one class and ranks none behind it; use top1"
    ):
        sample_score(metric("top5"), np.array([[3]], np.int64), 3, None, "s")
