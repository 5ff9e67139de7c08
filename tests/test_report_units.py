"""Figures and gate limits -> the words a person reads."""

from __future__ import annotations

import pytest

from tflite_ptq.report import units
from tflite_ptq.result import GateCheck, Interval


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (units.size(None), "–"),
        (units.size(0), "0 B"),
        (units.size(1023), "1023 B"),
        (units.size(96_256), "94.0 KiB"),
        (units.size(2_500_000), "2.38 MiB"),
        (units.duration(None), "–"),
        (units.duration(40), "40.0 ns"),
        (units.duration(80_149), "80.1 µs"),
        (units.duration(999_700), "1.00 ms"),
        (units.duration(999_400), "999 µs"),
        (units.duration(9_996), "10.0 µs"),
        (units.duration(24_900_000), "24.9 ms"),
        (units.duration(3_600_000_000_000), "3600 s"),
        (units.times(2.59375), "2.59×"),
        (units.times(None), "–"),
        (units.share(0.985), "98.50 %"),
        (units.metric_value("top5", 0.8725), "87.25 %"),
        (units.metric_value("roc_auc", 0.87654), "0.8765"),
        (units.metric_value("top1", None), "–"),
        (units.metric_change("top1", -0.0035), "-0.35 pt"),
        (units.metric_change("top1", -1e-12), "+0.00 pt"),
        (units.metric_change("mae", 0.00096), "+0.00096"),
        (units.metric_change("mae", None), "–"),
        (units.metric_change("mae", -0.0), "+0"),
        (units.count(1797), "1,797"),
        (units.seconds(4.254), "4.25 s"),
        (units.p_value(0.0004), "< 0.001"),
        (units.p_value(0.375), "0.375"),
        (units.gain(-1.25), "-1.2 dB"),
        (units.gain(-0.04), "0.0 dB"),
        (units.gain(0.04), "0.0 dB"),
        (units.gain(0.06), "+0.1 dB"),
        (units.decibel(-0.04), "0.0 dB"),
        (units.decibel(-0.06), "-0.1 dB"),
        (units.decibel(-0.04, 1), "-0.04 dB"),
        (units.small_share(0.0), "0"),
        (units.small_share(9.5e-07), "< 0.01 %"),
        (units.small_share(0.00011), "0.01 %"),
        (units.small_share(0.0272), "2.7 %"),
        (units.small_share(1.0), "100 %"),
        (units.plain(0.93271), "0.933"),
        (units.yes_no(False), "no"),
        (units.two_digits(0.102), "0.10"),
        (units.two_digits(0.996), "1.0"),
        (units.two_digits(9.96), "10"),
        (units.times_interval(None), "–"),
        (units.times_interval(Interval(low=1.5, high=1.625)), "1.50× to 1.62×"),
        (units.duration_interval(Interval(low=999.7, high=2_000)), "1.00 µs to 2.00 µs"),
        (units.counts(None), "–"),
        (units.counts({}), "none"),
    ],
)
def test_units(text: str, expected: str) -> None:
    assert text == expected


@pytest.mark.parametrize(
    ("check", "limit", "measured", "words"),
    [
        ("accuracy.top1.max_drop", 0.01, 0.0035, ("at most 1.00 pt", "0.35 pt")),
        ("accuracy.my.module:score.max_drop", 0.5, 0.25, ("at most 0.5", "0.25")),
        ("accuracy.top1.min", 0.9, 0.875, ("at least 90.00 %", "87.50 %")),
        ("accuracy.mae.max", 0.1, 0.125, ("at most 0.1", "0.125")),
        ("accuracy.max_drop", 0.01, None, ("at most 0.01", "not measured")),
        ("fidelity.min_agreement", 0.99, 1.0, ("at least 99.00 %", "100.00 %")),
        ("fidelity.min_sqnr_db", 30.0, 31.26, ("at least 30.0 dB", "31.3 dB")),
        ("size.max_ratio", 0.35, 0.309, ("at most 0.350", "0.309")),
        ("size.max_bytes", 250000.0, 96256.0, ("at most 250,000 B", "96,256 B")),
        ("latency.min_speedup[xnnpack,2]", 1.5, 3.25, ("at least 1.50×", "3.25×")),
        ("latency.max_median_ms[cpu,1]", 10.0, 0.32, ("at most 10 ms", "0.32 ms")),
        ("fully_integer", True, False, ("yes", "no")),
        # A limit and what broke it never read the same.
        ("size.max_ratio", 0.4849, 0.485, ("at most 0.4849", "0.4850")),
        ("accuracy.top1.max_drop", 0.00001, 0.00002, ("at most 0.001 pt", "0.002 pt")),
        ("fidelity.min_agreement", 0.99221, 0.9922, ("at least 99.221 %", "99.220 %")),
        ("fidelity.min_sqnr_db", 31.44, 31.41, ("at least 31.44 dB", "31.41 dB")),
        ("latency.min_speedup[cpu,1]", 0.0312, 0.0311, ("at least 0.0312×", "0.0311×")),
    ],
)
def test_gate_words(check: str, limit: float, measured: float | None, words: tuple[str, str]) -> None:
    one = GateCheck(variant="int8", check=check, limit=limit, measured=measured, passed=False)
    assert (units.check_limit(one), units.check_measured(one)) == words


def test_a_limit_says_how_sure_it_must_be() -> None:
    check = GateCheck(
        variant="int8", check="latency.min_speedup[cpu,1]", limit=1.5, measured=1.4, passed=False, confidence=0.95
    )
    assert units.check_limit(check) == "at least 1.50× (95 % sure)"
