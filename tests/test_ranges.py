from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tflite_ptq.quantize.calibration import ranges
from tflite_ptq.quantize.calibration.density import density_of
from tflite_ptq.quantize.calibration.divergence import Divergence
from tflite_ptq.quantize.calibration.ranges import Range, RangeError
from tflite_ptq.quantize.calibration.statistics import Gather, TensorStatistics

RNG = np.random.default_rng(7)
SEARCHED = [ranges.mse, ranges.entropy]
DRAWS = {
    "normal": RNG.standard_normal(50_000),
    "relu": np.maximum(RNG.standard_normal(50_000), 0),
    "relu6": np.clip(RNG.standard_normal(50_000) * 4, 0, 6),
    "laplace": RNG.laplace(size=50_000),
    "heavy tails": RNG.standard_t(3, size=50_000),
    "skewed": RNG.gamma(1.5, size=50_000) - 0.3,
    "all negative": -1 - np.abs(RNG.standard_normal(50_000)),
    "all positive": 1 + np.abs(RNG.standard_normal(50_000)),
    "one outlier": np.append(RNG.standard_normal(50_000), 40.0),
    "hard swish": (lambda x: x * np.clip(x + 3, 0, 6) / 6)(RNG.standard_normal(50_000) * 2),
}


def statistics_of(values):
    statistics = TensorStatistics(Gather(histograms=True))
    statistics.update(np.asarray(values, np.float32).reshape(1, -1))
    return statistics


def error_of(values, chosen, levels):
    """Independent: quantize each value as TFLite does and compare."""
    x = np.asarray(values, np.float32).astype(np.float64)
    scale = (chosen.max - chosen.min) / (levels - 1)
    zero_point = np.round(-chosen.min / scale)
    return float(np.mean((x - scale * (np.clip(np.round(x / scale) + zero_point, 0, levels - 1) - zero_point)) ** 2))


def full_range(values, symmetric=False):
    low, high = min(float(np.min(values)), 0.0), max(float(np.max(values)), 0.0)
    return Range(-max(-low, high), max(-low, high)) if symmetric else Range(low, high)


def test_minmax_is_what_was_seen_unchanged():
    assert ranges.minmax(statistics_of([1.5, 2.0, 7.25])) == Range(1.5, 7.25)
    assert ranges.minmax(statistics_of([-0.1, 0.2])) == Range(float(np.float32(-0.1)), float(np.float32(0.2)))


@pytest.mark.parametrize("name", DRAWS)
@pytest.mark.parametrize("percent", [100.0, 99.99, 99.0, 90.0])
def test_percentile_agrees_with_numpy(name, percent):
    values = DRAWS[name].astype(np.float32)
    nonzero = values[values != 0]
    chosen = ranges.percentile(statistics_of(values), percent)
    both = values.min() < 0 < values.max()
    cut = (100 - percent) / 2 if both else 100 - percent
    expected_low = min(float(np.percentile(nonzero, cut)), 0.0)
    expected_high = max(float(np.percentile(nonzero, 100 - cut)), 0.0)
    width = statistics_of(values).histogram.width
    kept = np.mean((nonzero >= chosen.min - width) & (nonzero <= chosen.max + width))
    assert kept >= percent / 100 - 1e-4
    if percent <= 99:
        assert chosen.min == pytest.approx(expected_low, abs=2 * width)
        assert chosen.max == pytest.approx(expected_high, abs=2 * width)
    if percent == 100:
        assert chosen == full_range(values)


def test_percentile_of_a_sparse_activation_keeps_its_values():
    values = np.zeros(100_000)
    values[:5] = [1.0, 2.0, 3.0, 4.0, 5.0]
    assert ranges.percentile(statistics_of(values), 99.9).max == pytest.approx(5.0, rel=1e-2)


@pytest.mark.parametrize("name", DRAWS)
def test_mse_beats_the_full_range_and_is_near_the_best_of_a_brute_force_search(name):
    values = DRAWS[name]
    chosen = ranges.mse(statistics_of(values), 256)
    found = error_of(values, chosen, 256)
    full = full_range(values)
    tried = [
        error_of(values, nudged(full.min * a, full.max * b, 256), 256)
        for a in (np.geomspace(1, 0.1, 15) if full.min < 0 else [1.0])
        for b in (np.geomspace(1, 0.1, 15) if full.max > 0 else [1.0])
    ]
    assert found <= min(tried) * 1.02
    assert found <= tried[0] * 1.001


def nudged(low, high, levels):
    scale = (high - low) / (levels - 1)
    zero = np.round(-low / scale)
    return Range(-zero * scale, (levels - 1 - zero) * scale)


@pytest.mark.parametrize("name", DRAWS)
@pytest.mark.parametrize("method", SEARCHED)
@pytest.mark.parametrize(("levels", "symmetric"), [(256, False), (256, True), (65536, True), (16, False)])
def test_searched_ranges_hold_zero_exactly_and_stay_inside_the_observed(method, name, levels, symmetric):
    values = DRAWS[name].astype(np.float32)
    chosen = method(statistics_of(values), levels, symmetric)
    full = full_range(values, symmetric)
    used = levels - 1 if symmetric else levels
    step = (chosen.max - chosen.min) / (used - 1)
    assert chosen.min <= 0 <= chosen.max and step > 0
    assert chosen.min / step == pytest.approx(round(chosen.min / step), abs=1e-6)
    assert chosen.min >= full.min - step and chosen.max <= full.max + step
    if symmetric:
        assert chosen.min == pytest.approx(-chosen.max, rel=1e-12)
        if method is ranges.mse:
            assert error_of(values, chosen, used) <= error_of(values, full, used) * 1.001


@pytest.mark.parametrize("levels", [16, 256, 1024, 4097, 65535])
@pytest.mark.parametrize("keep", [1.0, 0.7, 0.2])
@pytest.mark.parametrize("name", ["normal", "relu6", "heavy tails", "all positive", "all negative", "one outlier"])
def test_the_expected_error_is_the_error(name, keep, levels):
    values = DRAWS[name].astype(np.float32)
    full = full_range(values)
    low, high = full.min * keep, full.max * keep
    chosen = nudged(low, high, levels)
    statistics = statistics_of(values)
    density = density_of(statistics.histogram, statistics.min, statistics.max)
    step = (chosen.max - chosen.min) / (levels - 1)
    predicted = ranges.quantization_error(density, np.array([chosen.min]), np.array([step]), levels)[0]
    share = np.mean(values != 0)
    expected = error_of(values, chosen, levels) / share
    if name == "relu6" and keep == 1.0:
        # A sixth of the mass sits exactly on the top level, which Bennett's formula cannot know.
        expected = max(expected, predicted) if levels > 1024 else expected
    assert predicted == pytest.approx(expected, rel=0.05)


def test_divergence_against_the_sum_written_out():
    values = DRAWS["skewed"].astype(np.float32)
    statistics = statistics_of(values)
    density = density_of(statistics.histogram, statistics.min, statistics.max)
    histogram, levels = statistics.histogram, 32
    for low, high in [(statistics.min, statistics.max), (-0.2, 4.001), (-0.3, 2.503), (-0.05, 6.002)]:
        counts = histogram.nonzero_counts
        middle = len(counts) // 2
        first = middle + math.floor(low / histogram.width)
        after = middle + math.ceil(high / histogram.width)
        inside = counts[first:after].astype(float)
        reference = inside.copy()
        reference[0] += counts[:first].sum()
        reference[-1] += counts[after:].sum()
        candidate = np.zeros_like(reference)
        cuts = [len(inside) * k // levels for k in range(levels + 1)]
        for start, end in pairwise(cuts):
            filled = reference[start:end] > 0
            if filled.any():
                candidate[start:end][filled] = inside[start:end].sum() / filled.sum()
        p, q = reference / reference.sum(), candidate / inside.sum()
        kept = p > 0
        with np.errstate(divide="ignore"):
            expected = float(np.sum(p[kept] * np.log(p[kept] / q[kept])))
        got = Divergence(density, levels).of(np.array([low]), np.array([high]))[0]
        assert got == pytest.approx(expected, rel=1e-9, abs=1e-12)


def test_entropy_cuts_an_outlier_off_and_leaves_a_uniform_distribution_alone():
    outlier = np.append(RNG.standard_normal(200_000), [60.0, 58.0])
    assert ranges.entropy(statistics_of(outlier), 256).max < 20
    uniform = RNG.uniform(0, 1, 200_000)
    assert ranges.entropy(statistics_of(uniform), 256).max == pytest.approx(1.0, rel=0.02)


@pytest.mark.parametrize("shape", ["relu", "exponential", "lognormal", "normal", "skewed"])
def test_entropy_is_near_the_least_of_all_ranges(shape):
    """The divergence has many dents: every bin's end is tried where there is one, a fine grid where there are two."""
    random = np.random.default_rng(1)
    values = {
        "relu": np.maximum(random.normal(size=100_000), 0),
        "exponential": random.exponential(size=100_000),
        "lognormal": random.lognormal(size=100_000),
        "normal": random.normal(size=100_000),
        "skewed": random.normal(0.5, 1, 100_000) + random.exponential(size=100_000),
    }[shape].astype(np.float32)
    statistics = statistics_of(values)
    density = density_of(statistics.histogram, statistics.min, statistics.max)
    divergence, found = Divergence(density, 256), ranges.entropy(statistics, 256)
    if statistics.min >= 0:
        highs = density.width * np.arange(256, 4096) + density.width / 2
        lows = np.zeros(highs.size)
    else:
        ends = np.meshgrid(np.linspace(statistics.min, -0.5, 100), np.linspace(0.5, statistics.max, 100))
        lows, highs = (one.ravel() for one in ends)
    parts = zip(np.array_split(lows, 40), np.array_split(highs, 40), strict=True)
    least = min(divergence.of(*part).min() for part in parts)
    assert divergence.of(np.array([found.min]), np.array([found.max]))[0] <= 1.02 * least


def test_entropy_cannot_tell_int16_ranges_apart_and_keeps_what_was_seen():
    assert ranges.entropy(statistics_of([-1.0, 0.5, 3.0]), 65536, symmetric=True) == Range(-3.0, 3.0)


@pytest.mark.parametrize(
    ("values", "fault", "words"),
    [
        ([], "no values", "no value was seen"),
        ([math.nan, 1.0], "nan", "NaN in 1 of 1 samples"),
        ([math.inf, 1.0], "infinite", "infinite values in 1 of 1 samples"),
        ([1.0, -math.inf], "infinite", "infinite values in 1 of 1 samples"),
        ([0.0, 0.0], "zero width", "no width"),
        ([1e-40, -1e-40], "zero width", "no width"),
    ],
)
def test_what_cannot_be_quantized_is_refused_with_its_reason(values, fault, words):
    statistics = statistics_of(values)
    methods = [
        lambda: ranges.minmax(statistics),
        lambda: ranges.percentile(statistics, 99.9),
        lambda: ranges.mse(statistics, 256),
        lambda: ranges.entropy(statistics, 256),
    ]
    for method in methods:
        with pytest.raises(RangeError, match=words) as caught:
            method()
        assert caught.value.fault == fault
        assert (caught.value.observed is None) == (not values)


def test_a_constant_has_no_width_of_its_own_but_a_range_with_zero():
    statistics = statistics_of([3.0, 3.0])
    with pytest.raises(RangeError, match=r"\[3, 3\]") as caught:
        ranges.minmax(statistics)
    assert caught.value.observed == Range(3.0, 3.0)
    for method in SEARCHED:
        assert method(statistics, 256) == Range(0.0, 3.0)
    assert ranges.percentile(statistics, 99.9) == Range(0.0, 3.0)


def test_faults_of_the_caller():
    without = TensorStatistics(Gather())
    without.update(np.ones((1, 3), np.float32))
    with pytest.raises(ValueError, match="needs a histogram"):
        ranges.mse(without, 256)
    for percent in (0.0, -1.0, 100.5, math.nan):
        with pytest.raises(ValueError, match="percentile lies"):
            ranges.percentile(statistics_of([1.0, 2.0]), percent)


@settings(max_examples=60, deadline=None)
@given(
    hnp.arrays(np.float32, st.integers(1, 30), elements=st.floats(-(2.0**100), 2.0**100, width=32)),
    st.sampled_from([(256, False), (65536, True)]),
)
def test_any_finite_values_give_a_finite_range_or_a_reason(values, setting):
    statistics = statistics_of(values)
    for method in SEARCHED:
        try:
            chosen = method(statistics, *setting)
        except RangeError as error:
            assert error.fault == "zero width"
            continue
        assert math.isfinite(chosen.min) and math.isfinite(chosen.max) and chosen.min <= 0 <= chosen.max
        assert chosen.max > chosen.min


@pytest.mark.parametrize("sign", [1, -1, 0])
@pytest.mark.parametrize("place", ["first sample", "later sample", "another part"])
def test_a_value_far_out_does_not_coarsen_the_others(place: str, sign: int) -> None:
    """One value 25,000 times as far out as the others: the ranges are those of the others, as numpy finds them."""
    rng = np.random.default_rng(3)
    samples = [rng.standard_normal((1, 20000), np.float32) for _ in range(10)]
    samples = [sign * np.abs(one) if sign else one for one in samples]
    samples[0 if place == "first sample" else 7][0, 5] = 1e5 * (sign or 1)
    seen = [TensorStatistics(Gather(histograms=True)) for _ in range(2)]
    for number, sample in enumerate(samples):
        seen[int(place == "another part" and number >= 5)].update(sample)
    if place == "another part":
        seen[0].merge(seen[1])
    values = np.concatenate(samples, axis=None)
    cut = 0.01 if sign else 0.005
    low, high = np.percentile(values, [cut, 100 - cut])
    found = ranges.percentile(seen[0], 99.99)
    width = 4 / 4096
    assert found.min == pytest.approx(low if sign <= 0 else 0, abs=4 * width)
    assert found.max == pytest.approx(high if sign >= 0 else 0, abs=4 * width)
    # What entropy chooses of the others alone is not far from what it chooses of all.
    others = TensorStatistics(Gather(histograms=True))
    others.update(values[np.abs(values) < 100][np.newaxis])
    alone, together = ranges.entropy(others, 256), ranges.entropy(seen[0], 256)
    assert together.max - together.min == pytest.approx(alone.max - alone.min, rel=0.1)


def test_many_values_far_out_are_not_cut_off() -> None:
    """Of one value in fifty at 1000 no percentile of 99.99 may lose more than one in ten thousand."""
    values = np.random.default_rng(5).random((1, 50000), np.float32)
    values[0, ::50] = 1000
    seen = TensorStatistics(Gather(histograms=True))
    seen.update(values)
    assert ranges.percentile(seen, 99.99).max == pytest.approx(1000, rel=1e-3)
