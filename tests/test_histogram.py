from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from tflite_ptq.quantize.calibration.histogram import BINS_PER_SIDE, Histogram

FLOATS = hnp.arrays(
    np.float32,
    st.integers(1, 40),
    elements=st.floats(width=32, allow_nan=False, allow_infinity=False, allow_subnormal=True),
)


def histogram_of(*parts: NDArray[np.float32]) -> Histogram:
    histogram = Histogram()
    for part in parts:
        histogram.update(part)
    return histogram


def same(a: Histogram, b: Histogram) -> bool:
    return a.width == b.width and a.zeros == b.zeros and bool((a.counts == b.counts).all())


@settings(max_examples=200, deadline=None)
@given(FLOATS, st.randoms(use_true_random=False), st.integers(1, 5))
def test_neither_order_nor_sharding_changes_a_count(values, random, shards):
    whole = histogram_of(values)
    shuffled = values.copy()
    random.shuffle(shuffled)
    merged = Histogram()
    for part in np.array_split(shuffled, shards):
        merged.merge(histogram_of(part))
    assert same(whole, merged)
    assert same(whole, histogram_of(*np.array_split(shuffled, shards)))
    assert whole.total == values.size
    assert whole.zeros == int((values == 0).sum())


@settings(max_examples=200, deadline=None)
@given(FLOATS)
def test_each_value_lies_in_its_bin(values):
    # Independent arithmetic: exact integers of Python's fractions instead of float32 scaling.
    histogram = histogram_of(values)
    expected = np.zeros(2 * BINS_PER_SIDE, np.int64)
    for value in values.tolist():
        ratio = abs(value).as_integer_ratio()
        width = histogram.width.as_integer_ratio()
        k = (ratio[0] * width[1]) // (ratio[1] * width[0])
        expected[BINS_PER_SIDE - 1 - k if value < 0 else BINS_PER_SIDE + k] += 1
    assert (histogram.counts == expected).all()
    assert float(np.abs(values).max()) < histogram.limit


@pytest.mark.parametrize(
    ("values", "limit"),
    [
        ([1.0], 2.0),
        ([0.999], 1.0),
        ([-6.0, 6.0], 8.0),
        ([3e38, 1e-45], 2.0**128),
        ([0.0, -0.0], 2.0**-100),
        ([1e-45, -1e-45], 2.0**-100),
        ([5.0, 7.0], 8.0),
    ],
)
def test_the_limit_is_the_smallest_power_of_two_above_all_magnitudes(values, limit):
    histogram = histogram_of(np.array(values, np.float32))
    assert histogram.limit == limit
    assert histogram.width == limit / BINS_PER_SIDE
    assert histogram.edges[0] == -limit and histogram.edges[-1] == limit and histogram.edges[BINS_PER_SIDE] == 0
    assert histogram.total == len(values)


def test_agrees_with_numpy_on_many_values():
    values = np.random.default_rng(0).standard_normal((1, 40, 50, 100), dtype=np.float32)
    histogram = histogram_of(*values[0])
    edges = histogram.edges[BINS_PER_SIDE:]
    above, _ = np.histogram(values[values >= 0].astype(np.float64), bins=edges)
    below, _ = np.histogram(-values[values < 0].astype(np.float64), bins=edges)
    assert (histogram.counts == np.concatenate([below[::-1], above])).all()


def test_an_outlier_coarsens_but_loses_nothing():
    bulk = np.full(1000, 0.5, np.float32)
    histogram = histogram_of(bulk, np.array([-1e30], np.float32))
    assert histogram.counts[BINS_PER_SIDE] == 1000
    assert histogram.counts[:BINS_PER_SIDE].sum() == 1
    assert histogram.total == 1001


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_non_finite_values_are_refused_and_change_nothing(bad):
    histogram = histogram_of(np.array([1.0, 2.0], np.float32))
    before = histogram.counts.copy()
    with pytest.raises(ValueError, match="finite"):
        histogram.update(np.array([0.5, bad], np.float32))
    assert (histogram.counts == before).all() and histogram.limit == 4.0


def test_empty_arrays_and_empty_histograms_change_nothing():
    histogram = histogram_of(np.array([3.0], np.float32))
    histogram.update(np.zeros((1, 0, 4), np.float32))
    histogram.merge(Histogram())
    assert same(histogram, histogram_of(np.array([3.0], np.float32)))


def test_nonzero_counts_leave_the_exact_zeros_out():
    histogram = histogram_of(np.array([0.0, 0.0, 1e-9, 1.0], np.float32))
    assert histogram.counts[BINS_PER_SIDE] == 3
    assert histogram.nonzero_counts[BINS_PER_SIDE] == 1
    assert histogram.counts[BINS_PER_SIDE] == 3


@settings(max_examples=200, deadline=None)
@given(
    st.lists(hnp.arrays(np.float32, st.integers(1, 300), elements=st.floats(-8, 8, width=32)), min_size=1, max_size=6),
    st.lists(st.floats(1000, 2.0**100, width=32), max_size=4),
    st.randoms(use_true_random=False),
)
def test_the_core_is_the_histogram_of_what_is_not_far_out(parts, far, random):
    """Whatever the order: a core, where there is one, holds nothing far out, and nearly all."""
    for value in far:
        place = random.randrange(len(parts))
        parts[place] = np.insert(parts[place], random.randrange(parts[place].size + 1), np.float32(value))
    histogram = histogram_of(*parts)
    halves = histogram_of(*parts[: len(parts) // 2])
    halves.merge(histogram_of(*parts[len(parts) // 2 :]))
    assert same(histogram, halves)
    for one in (histogram, halves):
        if one.core is not None:
            values = np.concatenate(parts)
            near = Histogram()
            near.update(values[np.abs(values) < one.core.limit])
            if near.limit == one.core.limit:
                assert (one.core.nonzero_counts <= near.nonzero_counts).all()
            assert one.core.nonzero >= 0.99 * one.nonzero and one.core.limit * 64 < one.limit


def test_a_core_needs_many_values_and_few_far_out():
    near = np.linspace(-1, 1, 1000, dtype=np.float32)
    assert histogram_of(near).core is None
    assert histogram_of(near, np.full(5, 1e4, np.float32)).core is not None
    assert histogram_of(near, np.full(50, 1e4, np.float32)).core is None
    assert histogram_of(near, np.full(5, 60, np.float32)).core is None  # 64 bins a side are left to the others
    assert histogram_of(np.zeros(1000, np.float32), np.full(5, 1e4, np.float32)).core is None
    # A first sample of next to nothing is no core of what follows.
    begun = histogram_of(near[:2] * np.float32(1e-6), near, near, np.full(3, 1e4, np.float32))
    assert begun.core is not None and begun.core.limit == 2
