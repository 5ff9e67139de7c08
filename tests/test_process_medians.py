"""Intervals over process medians: hand arithmetic, scipy's answer, properties, and coverage by simulation."""

from __future__ import annotations

import random
from itertools import pairwise
from statistics import median

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import quantile_test

from tflite_ptq.measure.process_medians import LEAST, median_interval, ratio_interval

TIMES = st.lists(st.floats(1, 1e9), min_size=LEAST, max_size=40)


@pytest.mark.parametrize("count", range(LEAST))
def test_too_few_processes_have_no_interval(count: int) -> None:
    """With five even the whole range leaves 2 / 2^5 = 6.25 % outside."""
    assert median_interval([1.0] * count) is None
    assert ratio_interval([1.0] * count, [2.0] * count) is None


def test_of_six_it_is_the_whole_range() -> None:
    """2 / 2^6 = 3.1 % outside; one rank further in it would be 22 %."""
    interval = median_interval([30, 10, 60, 20, 50, 40])
    assert interval is not None
    assert (interval.low, interval.high, interval.confidence) == (10, 60, 0.95)


def test_outliers_at_both_ends_are_left_out_of_many() -> None:
    """Of eleven the order statistics are the 2nd and the 10th, and resampling reaches no further."""
    interval = median_interval([1, *range(100, 109), 900])
    assert interval is not None and (interval.low, interval.high) == (100, 108)


@pytest.mark.parametrize("count", [6, 7, 8, 9, 11, 14, 15, 20, 31])
def test_never_narrower_than_scipys_distribution_free_interval(count: int) -> None:
    values = [random.Random(count).lognormvariate(0, 1) for _ in range(count)]
    ours = median_interval(values)
    theirs = quantile_test(values, q=0, p=0.5).confidence_interval(0.95)
    assert ours is not None
    assert ours.low <= theirs.low and ours.high >= theirs.high


@settings(max_examples=60, deadline=None)
@given(TIMES)
def test_contains_the_median_and_stays_within_the_range(values: list[float]) -> None:
    interval = median_interval(values)
    assert interval is not None
    assert min(values) <= interval.low <= median(values) <= interval.high <= max(values)


@settings(max_examples=40, deadline=None)
@given(TIMES, st.floats(0.001, 1000))
def test_scales_with_the_unit(values: list[float], factor: float) -> None:
    interval, scaled = median_interval(values), median_interval([factor * value for value in values])
    assert interval is not None and scaled is not None
    assert scaled.low == pytest.approx(factor * interval.low) and scaled.high == pytest.approx(factor * interval.high)


@settings(max_examples=40, deadline=None)
@given(TIMES, st.randoms(use_true_random=False))
def test_of_a_ratio(values: list[float], rng: random.Random) -> None:
    """It holds the ratio of the medians; exchanging the sides turns it over; equal sides say exactly 1."""
    others = rng.sample(values, len(values))
    interval, turned = ratio_interval(values, others), ratio_interval(others, values)
    assert interval is not None and turned is not None
    assert interval.low <= median(values) / median(others) <= interval.high
    assert turned.low == pytest.approx(1 / interval.high)
    assert turned.high == pytest.approx(1 / interval.low)
    same = ratio_interval(values, values)
    assert same is not None and (same.low, same.high) == (1, 1)


def test_a_factor_common_to_a_round_cancels() -> None:
    rng = random.Random(0)
    own = [rng.uniform(1, 100) for _ in range(9)]
    interval = ratio_interval([3 * value for value in own], own)
    assert interval is not None and interval.low == pytest.approx(3) and interval.high == pytest.approx(3)


def test_narrows_with_the_number_of_processes() -> None:
    rng = random.Random(1)
    widths = []
    for count in (6, 24, 96):
        found = [median_interval([rng.gauss(100, 5) for _ in range(count)]) for _ in range(9)]
        widths.append(median([one.high - one.low for one in found if one is not None]))
    assert all(later < earlier for earlier, later in pairwise(widths))


def draw_skewed(rng: random.Random) -> float:
    """Most processes alike, one in five slowed down: what a busy machine does."""
    return rng.gauss(100, 2) + (rng.expovariate(1 / 20) if rng.random() < 0.2 else 0)


@pytest.mark.parametrize("count", [6, 9, 12])
def test_covers_what_it_says(count: int) -> None:
    """95 % of the samples or more cover the true median; of 200, 92 % is two standard errors below."""
    rng = random.Random(count)
    truth = median(draw_skewed(rng) for _ in range(50_001))
    found = [median_interval([draw_skewed(rng) for _ in range(count)]) for _ in range(200)]
    covered = sum(one is not None and one.low <= truth <= one.high for one in found)
    assert covered >= 0.92 * len(found)
