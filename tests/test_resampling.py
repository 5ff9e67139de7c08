"""The bootstrap and its statistics against scikit-learn, closed formulas and resampling by hand."""

import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import balanced_accuracy_score, f1_score, roc_auc_score

from tflite_ptq.measure import statistics
from tflite_ptq.measure.resampling import Statistic, affordable, bootstrap_p, percentile_interval, resampled

RNG = np.random.default_rng(0)
N, K = 120, 4
LABELS = RNG.integers(0, K, N)
PREDICTED = np.where(RNG.random(N) < 0.7, LABELS, RNG.integers(0, K, N))
SCORES = np.round(RNG.normal(0, 1, (N, K)) + np.eye(K)[LABELS], 1)  # rounded: ties
INNER, OUTER = RNG.random((N, K)), 1 + RNG.random((N, K))

Direct = Callable[[np.ndarray], float]
CASES: dict[str, tuple[Statistic, Direct]] = {
    "mean": (statistics.mean(SCORES[:, 0]), lambda i: SCORES[i, 0].mean()),
    "root_mean": (statistics.root_mean(SCORES[:, 0] ** 2), lambda i: math.sqrt((SCORES[i, 0] ** 2).mean())),
    "ratio": (statistics.ratio(INNER[:, 0], OUTER[:, 0]), lambda i: INNER[i, 0].sum() / OUTER[i, 0].sum()),
    "mean_ratio": (statistics.mean_ratio(INNER, OUTER), lambda i: np.mean(INNER[i].sum(0) / OUTER[i].sum(0))),
    "macro_f1": (
        statistics.macro_f1(PREDICTED, LABELS),
        lambda i: f1_score(LABELS[i], PREDICTED[i], average="macro", zero_division=0),
    ),
    "balanced": (
        statistics.balanced_accuracy(PREDICTED, LABELS),
        lambda i: balanced_accuracy_score(LABELS[i], PREDICTED[i]),
    ),
    "roc_auc": (statistics.roc_auc(SCORES[:, 1], LABELS % 2), lambda i: roc_auc_score(LABELS[i] % 2, SCORES[i, 1])),
    "roc_auc of two": (
        statistics.roc_auc(SCORES[:, :2], LABELS % 2),
        lambda i: roc_auc_score(LABELS[i] % 2, SCORES[i, 1]),
    ),
    "roc_auc of many": (
        statistics.roc_auc(SCORES, LABELS),
        lambda i: np.mean([roc_auc_score(LABELS[i] == k, SCORES[i, k]) for k in range(K)]),
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_a_statistic_of_counts_is_the_figure_of_the_samples_drawn(name: str) -> None:
    statistic, direct = CASES[name]
    drawn = [np.arange(N), *np.random.default_rng(1).integers(0, N, (5, N))]
    counts = np.array([np.bincount(one, minlength=N) for one in drawn], np.float64)
    assert statistic.of(counts) == pytest.approx([direct(one) for one in drawn])


def test_a_class_missing_from_a_resample_is_no_figure_or_left_out() -> None:
    labels = np.array([0, 0, 1])
    counts = np.array([[1.0, 2.0, 0.0], [1.0, 1.0, 1.0]])
    areas = statistics.roc_auc(np.array([0.1, 0.2, 0.3]), labels).of(counts)
    assert math.isnan(areas[0]) and areas[1] == 1
    recalls = statistics.balanced_accuracy(np.array([0, 1, 1]), labels).of(counts)
    assert recalls == pytest.approx([1 / 3, (1 / 2 + 1) / 2])


def test_the_interval_of_a_mean_is_near_the_normal_one_and_seeded() -> None:
    values = np.random.default_rng(2).normal(3, 2, 400)
    first, again = resampled([statistics.mean(values)], 400), resampled([statistics.mean(values)], 400)
    assert (first == again).all()
    found = percentile_interval(first[0], float(values.mean()))
    assert found is not None
    half = 1.96 * values.std() / math.sqrt(400)
    assert (found.low, found.high) == pytest.approx((values.mean() - half, values.mean() + half), abs=0.15 * half)


def test_two_statistics_of_one_call_are_paired() -> None:
    values = np.random.default_rng(3).normal(0, 1, 200)
    one, other = resampled([statistics.mean(values), statistics.mean(values + 0.25)], 200)
    assert other - one == pytest.approx(np.full(one.shape, 0.25))


def test_p_by_hand() -> None:
    assert bootstrap_p(np.zeros(99)) == 1  # nothing ever changes
    assert bootstrap_p(np.full(99, 0.5)) == pytest.approx(2 / 100)
    assert bootstrap_p(np.array([-1.0] * 9 + [1.0] * 90)) == pytest.approx(2 * 10 / 100)
    assert bootstrap_p(np.full(99, np.nan)) is None


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=50))
def test_p_knows_no_direction(changes: list[float]) -> None:
    values = np.array(changes)
    assert bootstrap_p(values) == bootstrap_p(-values)


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=50), st.floats(-1e6, 1e6))
def test_an_interval_holds_its_value(figures: list[float], value: float) -> None:
    found = percentile_interval(np.array(figures), value)
    assert found is not None
    assert found.low <= value <= found.high


def test_no_interval_where_hardly_any_resample_has_a_figure() -> None:
    assert percentile_interval(np.array([np.nan, np.nan, np.nan, 0.5]), 0.5) is None
    kept = percentile_interval(np.array([0.4, np.nan, 0.6]), 0.5)
    assert kept is not None and kept.low == pytest.approx(0.405)


def test_the_work_is_bounded() -> None:
    assert resampled([statistics.mean(np.ones(50))], 50).shape == (1, 2000)
    assert resampled([statistics.mean(np.ones(100_000))], 100_000).shape == (1, 500)
    assert resampled([statistics.mean(np.ones(50))], 50, most=30).shape == (1, 30)
    assert affordable(statistics.roc_auc(np.zeros((4, 10)), np.array([0, 1, 2, 3])), 50_000)
    assert not affordable(Statistic(lambda counts: counts[:, 0], work=4000), 50_000)
