"""Shares and their changes against published figures, scipy's other tests, likelihoods maximized by search."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar
from scipy.stats import binom

from tflite_ptq.measure.proportions import change_interval, mcnemar_p, share_interval

PAIRS = st.tuples(st.integers(0, 60), st.integers(0, 60), st.integers(0, 400)).filter(lambda pairs: sum(pairs) > 0)


def test_wilson_by_its_formula() -> None:
    # (p + z²/2n ± z sqrt(p(1-p)/n + z²/4n²)) / (1 + z²/n), p = 0.9, n = 1000, z = 1.959964
    z, p, n = 1.959964, 0.9, 1000
    centre, half = p + z * z / (2 * n), z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    found = share_interval(900, 1000)
    assert (found.low, found.high) == pytest.approx(
        ((centre - half) / (1 + z * z / n), (centre + half) / (1 + z * z / n)), abs=1e-7
    )
    assert share_interval(1, 1).high == 1
    assert share_interval(1, 1).low == pytest.approx(1 / (1 + z * z))


@pytest.mark.parametrize(
    ("lost", "won", "samples", "low", "high"),
    [
        # Airway hyper-responsiveness, 21 patients, 7 against 1 discordant pairs: the interval that Fagerland, Lydersen
        # and Laake, Statistics in Medicine 33 (2014), print for Tango's method.
        (7, 1, 21, -0.517, -0.026),
        # No discordant pair among n: z² / (n + z²) on both sides (Tango 1998).
        (0, 0, 1000, -3.841459 / 1003.841459, 3.841459 / 1003.841459),
        (0, 0, 1, -3.841459 / 4.841459, 3.841459 / 4.841459),
    ],
)
def test_published_change_intervals(lost: int, won: int, samples: int, low: float, high: float) -> None:
    found = change_interval(lost, won, samples)
    assert (found.low, found.high) == pytest.approx((low, high), abs=5e-4)


def _score_statistic(change: float, lost: int, won: int, samples: int) -> float:
    """Of the hypothesis that the true change is ``change``; the nuisance probability is found by search."""
    rest = samples - lost - won

    def unlikeliness(p: float) -> float:
        counts = ((lost, p), (won, p + change), (rest, 1 - 2 * p - change))
        return -sum(count * math.log(probability) for count, probability in counts if count)

    bounds = (max(0.0, -change) + 1e-12, (1 - change) / 2 - 1e-12)
    p = minimize_scalar(unlikeliness, bounds=bounds, method="bounded", options={"xatol": 1e-13}).x
    return float((won - lost - samples * change) / math.sqrt(samples * (2 * p + change - change**2)))


@pytest.mark.parametrize(("lost", "won", "samples"), [(7, 1, 21), (2, 3, 1000), (3, 0, 10), (40, 20, 160), (5, 5, 11)])
def test_the_ends_are_where_the_score_test_rejects(lost: int, won: int, samples: int) -> None:
    found = change_interval(lost, won, samples)
    assert _score_statistic(found.low, lost, won, samples) == pytest.approx(1.959964, abs=1e-4)
    assert _score_statistic(found.high, lost, won, samples) == pytest.approx(-1.959964, abs=1e-4)


def test_mcnemar_by_hand() -> None:
    # 1 of 8 discordant pairs: 2 (1 + 8) / 2^8
    assert mcnemar_p(7, 1) == pytest.approx(18 / 256)
    assert mcnemar_p(5, 0) == pytest.approx(2 / 32)
    assert mcnemar_p(0, 0) == 1
    assert mcnemar_p(3, 3) == 1


@given(PAIRS)
def test_properties_of_a_change(pairs: tuple[int, int, int]) -> None:
    lost, won, others = pairs
    samples = lost + won + others
    found, reverse = change_interval(lost, won, samples), change_interval(won, lost, samples)
    assert -1 <= found.low <= (won - lost) / samples <= found.high <= 1
    assert (found.low, found.high) == pytest.approx((-reverse.high, -reverse.low), abs=1e-8)
    assert mcnemar_p(lost, won) == mcnemar_p(won, lost)
    assert 0 < mcnemar_p(lost, won) <= 1


@given(st.integers(1, 5000), st.data())
def test_properties_of_a_share(samples: int, data: st.DataObject) -> None:
    hits = data.draw(st.integers(0, samples))
    found, misses = share_interval(hits, samples), share_interval(samples - hits, samples)
    assert 0 <= found.low <= hits / samples <= found.high <= 1
    assert (found.low, found.high) == pytest.approx((1 - misses.high, 1 - misses.low), abs=1e-9)


def test_the_change_interval_covers_the_truth_in_about_95_of_100_samples() -> None:
    # 3 % lost, 1 % won of 300: far from normal. Coverage by adding up the probabilities, no simulation.
    samples, p_lost, p_won = 300, 0.03, 0.01
    lost = np.arange(31)
    covered = total = 0.0
    for one in lost:
        for two in np.arange(16):
            probability = binom.pmf(one, samples, p_lost) * binom.pmf(two, samples - one, p_won / (1 - p_lost))
            found = change_interval(int(one), int(two), samples)
            total += probability
            covered += probability * (found.low <= p_won - p_lost <= found.high)
    assert total > 0.999
    assert 0.93 < covered / total < 0.97
