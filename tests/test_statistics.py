from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tflite_ptq.quantize.calibration.statistics import Gather, TensorStatistics

ALL = Gather(means=True, maps=True, histograms=True)


def statistics_of(samples, gather=ALL):
    statistics = TensorStatistics(gather)
    for sample in samples:
        statistics.update(sample)
    return statistics


@pytest.mark.parametrize(
    "shape",
    [(1, 5, 7, 3), (1, 10), (1, 1), (1,), (), (1, 40, 30, 17), (1, 9, 2000), (1, 64, 64, 1), (1, 33, 4, 1024)],
    ids=str,
)
def test_agrees_with_numpy_in_float64(shape):
    samples = np.random.default_rng(1).standard_normal((4, *shape)).astype(np.float32) * 3 + 1
    statistics = statistics_of(samples)
    exact = samples.astype(np.float64).reshape(-1, shape[-1] if shape else 1)
    assert statistics.min == float(samples.min()) and statistics.max == float(samples.max())
    assert (statistics.samples, statistics.values) == (4, samples.size)
    assert statistics.finite
    np.testing.assert_allclose(statistics.mean, exact.mean(axis=0), rtol=1e-12, atol=1e-13)
    np.testing.assert_allclose(statistics.mean_square, np.square(exact).mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(statistics.mean_map, samples.astype(np.float64).mean(axis=0), rtol=1e-12, atol=1e-13)
    assert statistics.mean_map.shape == shape
    assert statistics.histogram.total == samples.size


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**31), st.integers(1, 6), st.integers(0, 6))
def test_merging_shards_gives_what_one_pass_gives(seed, count, cut):
    samples = np.random.default_rng(seed).standard_normal((count, 1, 3, 4, 2)).astype(np.float32)
    whole = statistics_of(samples)
    merged = statistics_of(samples[:cut])
    merged.merge(statistics_of(samples[cut:]))
    assert (merged.min, merged.max, merged.samples, merged.values) == (whole.min, whole.max, count, samples.size)
    assert (merged.histogram.counts == whole.histogram.counts).all()
    np.testing.assert_allclose(merged.mean, whole.mean, rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(merged.mean_square, whole.mean_square, rtol=1e-12)
    np.testing.assert_allclose(merged.mean_map, whole.mean_map, rtol=1e-12, atol=1e-14)


def test_only_what_was_asked_for_is_gathered():
    sample = np.ones((1, 2, 2), np.float32)
    rows = [
        (Gather(), (False, False, False)),
        (Gather(means=True), (True, False, False)),
        (Gather(maps=True), (False, True, False)),
        (Gather(histograms=True), (False, False, True)),
    ]
    for gather, expected in rows:
        got = statistics_of([sample], gather)
        assert (got.mean is not None, got.mean_map is not None, got.histogram is not None) == expected
        assert (got.mean_square is not None) == expected[0]
        assert (got.min, got.max) == (1.0, 1.0)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("first", [True, False])
@pytest.mark.filterwarnings("error")
def test_a_non_finite_value_is_never_lost(bad, first):
    good = np.array([[1.0, 2.0]], np.float32)
    broken = np.array([[bad, 2.0]], np.float32)
    samples = [broken, good] if first else [good, broken]
    one_pass = statistics_of(samples)
    merged = statistics_of(samples[:1])
    merged.merge(statistics_of(samples[1:]))
    for statistics in (one_pass, merged):
        assert not statistics.finite
        assert statistics.non_finite_samples == 1
        assert not (math.isfinite(statistics.min) and math.isfinite(statistics.max))
        assert math.isnan(statistics.min) == math.isnan(bad)
        assert not math.isfinite(statistics.mean[0]) and statistics.mean[1] == 2.0
        assert statistics.histogram.total == 2


def test_nothing_seen_is_none_and_empty_samples_hold_no_values():
    statistics = statistics_of([np.zeros((1, 0, 3), np.float32)])
    assert (statistics.min, statistics.max, statistics.mean, statistics.mean_square) == (None, None, None, None)
    assert (statistics.mean_map, statistics.samples, statistics.values) == (None, 1, 0)


def test_changing_shapes_are_refused_only_where_they_matter():
    short, long = np.ones((1, 2, 3), np.float32), np.zeros((1, 4, 3), np.float32)
    assert statistics_of([short, long], Gather(means=True)).mean.tolist() == [1 / 3] * 3
    with pytest.raises(ValueError, match="one shape"):
        statistics_of([short, long], Gather(maps=True))
    with pytest.raises(ValueError, match="channel"):
        statistics_of([short, np.ones((1, 3, 2), np.float32)], Gather(means=True))
    with pytest.raises(ValueError, match="merged"):
        statistics_of([short]).merge(statistics_of([short], Gather()))
