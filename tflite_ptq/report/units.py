"""Figures as a person reads them. ``None`` (not measured) is a dash, never a number. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping

from tflite_ptq.result import GateCheck, Interval, Latency

NOT_MEASURED = "–"
_MOST_DIGITS_MORE = 12
_SHARES = re.compile(r"(top\d+|balanced_accuracy)(\(.*\))?")


def is_share(metric: str) -> bool:
    """Whether a metric is a share of samples that people quote in percent (``top1``, ``top1(output)``)."""
    return _SHARES.fullmatch(metric) is not None


def size(size_bytes: float | None) -> str:
    """Bytes as B, KiB or MiB."""
    if size_bytes is None:
        return NOT_MEASURED
    if size_bytes < 1024:
        return f"{size_bytes:.0f} B"
    if size_bytes < 1024**2:
        return f"{size_bytes / 1024:.1f} KiB"
    return f"{size_bytes / 1024**2:.2f} MiB"


def duration(duration_ns: float | None) -> str:
    """Nanoseconds as ns, µs, ms or s, with three significant digits."""
    if duration_ns is None:
        return NOT_MEASURED
    for factor, unit in ((1.0, "ns"), (1e3, "µs"), (1e6, "ms")):
        text = _three_digits(duration_ns / factor)
        # Compared after rounding, so that 999.7 µs reads 1.00 ms and not 1000 µs.
        if float(text) < 1000:
            return f"{text} {unit}"
    return f"{_three_digits(duration_ns / 1e9)} s"


def _three_digits(value: float) -> str:
    for decimals in (2, 1):
        text = f"{value:.{decimals}f}"
        if float(text) < 10 ** (3 - decimals):
            return text
    return f"{value:.0f}"


def two_digits(value: float) -> str:
    """A small figure such as a precision in percent: ``0.43``, ``1.8``, ``12``."""
    return f"{value:.2f}" if value < 0.995 else f"{value:.1f}" if value < 9.95 else f"{value:.0f}"


def precision(half: float) -> str:
    """Half an interval as a share of its median: ``±1.4%``."""
    return f"±{two_digits(100 * half)}%"


def configuration(latency: Latency) -> str:
    """Delegate and threads of a timing: ``xnnpack, 2 threads``."""
    return f"{latency.delegate}, {latency.threads} thread{'s' * (latency.threads != 1)}"


def times_interval(interval: Interval | None) -> str:
    """The interval of a speedup: ``1.52× to 1.68×``, and in words where it says nothing."""
    if interval is None:
        return NOT_MEASURED
    text = f"{times(interval.low)} to {times(interval.high)}"
    return f"{text}, no difference shown" if interval.low <= 1 <= interval.high else text


def duration_interval(interval: Interval | None) -> str:
    """The interval of a duration in ns."""
    return NOT_MEASURED if interval is None else f"{duration(interval.low)} to {duration(interval.high)}"


def counts(found: Mapping[str, int] | None) -> str:
    """Operators by name: ``MEAN 1, SOFTMAX 2``."""
    if found is None:
        return NOT_MEASURED
    return ", ".join(f"{name} {count}" for name, count in found.items()) or "none"


def times(factor: float | None, more: int = 0) -> str:
    """A ratio, as in ``2.61×``, of two significant digits at least; ``more``: so many beyond the usual."""
    if factor is None:
        return NOT_MEASURED
    return f"{factor:.{2 + more}g}×" if 0 < factor < 0.095 else f"{factor:.{(2 if factor < 100 else 0) + more}f}×"


def share(value: float | None, more: int = 0) -> str:
    """A share (0..1) in percent with two decimals."""
    return NOT_MEASURED if value is None else f"{100 * value:.{2 + more}f} %"


def decibel(value: float | None, more: int = 0) -> str:
    """An SQNR."""
    # + 0.0 as in a metric's change: a little less than nothing reads 0.0, not -0.0.
    return NOT_MEASURED if value is None else f"{round(value, 1 + more) + 0.0:.{1 + more}f} dB"


def yes_no(value: bool | None) -> str:
    """A verdict."""
    return NOT_MEASURED if value is None else ("yes" if value else "no")


def metric_value(metric: str, value: float | None, more: int = 0) -> str:
    """A metric's value: percent for top-k, else a plain number."""
    if value is None:
        return NOT_MEASURED
    return share(value, more) if is_share(metric) else f"{value:.{4 + more}g}"


def metric_change(metric: str, change: float | None) -> str:
    """A metric's change with its sign: percentage points (``pt``) for top-k, else a plain number."""
    if change is None:
        return NOT_MEASURED
    if is_share(metric):
        # + 0.0 turns the -0.0 of a tiny negative change into 0.0, which would otherwise read "-0.00".
        return f"{round(100 * change, 2) + 0.0:+.2f} pt"
    return f"{change + 0.0:+.3g}"


def metric_spread(metric: str, interval: Interval | None) -> str:
    """Half the width of a value's interval: ``±0.9`` (percentage points for top-k), empty where there is none."""
    if interval is None:
        return ""
    half = (interval.high - interval.low) / 2
    if is_share(metric):
        return f"±{100 * half:.{1 if half >= 0.0005 else 2}f}"
    return f"±{half:.2g}"


def metric_interval(metric: str, interval: Interval | None) -> str:
    """A value's interval from end to end."""
    if interval is None:
        return NOT_MEASURED
    return f"{metric_value(metric, interval.low)} to {metric_value(metric, interval.high)}"


def change_interval(metric: str, interval: Interval | None) -> str:
    """A change's interval from end to end."""
    if interval is None:
        return NOT_MEASURED
    return f"{metric_change(metric, interval.low)} to {metric_change(metric, interval.high)}"


def probability(p_value: float | None) -> str:
    """A p-value with two significant digits, and no smaller than anybody believes."""
    if p_value is None:
        return NOT_MEASURED
    return "< 0.001" if p_value < 0.001 else f"{p_value:.2g}"


def check_bound(check: GateCheck) -> str:
    """A gate check's limit in words: ``at most 1.00 pt``."""
    if isinstance(check.limit, bool):
        return yes_no(check.limit)
    bound = "at least" if _rule(check.check).startswith("min") else "at most"
    return f"{bound} {_figures(check)[0]}"


def check_limit(check: GateCheck) -> str:
    """A gate check's limit and how sure it must be kept: ``at most 1.00 pt (95 % sure)``."""
    return check_bound(check) + ("" if check.confidence is None else f" ({100 * check.confidence:g} % sure)")


def check_measured(check: GateCheck) -> str:
    """What a gate check measured, in the unit of its limit."""
    if check.measured is None:
        return "identical" if check.passed else "not measured"
    if isinstance(check.measured, bool):
        return yes_no(check.measured)
    return _figures(check)[1]


def _figures(check: GateCheck) -> tuple[str, str]:
    """Limit and measured, with as many digits more as it takes to tell a limit from what broke it."""
    limit = float(check.limit)
    measured = limit if check.measured is None else float(check.measured)
    texts = (_figure(check.check, limit, 0), _figure(check.check, measured, 0))
    more = 0
    while texts[0] == texts[1] and not check.passed and measured != limit and more < _MOST_DIGITS_MORE:
        more += 1
        texts = (_figure(check.check, limit, more), _figure(check.check, measured, more))
    return texts


def _rule(check: str) -> str:
    """``max_drop`` of ``accuracy.top1.max_drop``, ``min_speedup`` of ``latency.min_speedup[cpu,1]``."""
    return check.partition("[")[0].rpartition(".")[2]


def _figure(check: str, value: float, more: int) -> str:
    rule = _rule(check)
    metric = check.removeprefix("accuracy.").removesuffix(rule).rstrip(".")
    if rule == "max_drop":
        points = round(100 * value, 2 + more) + 0.0
        return f"{points:.{2 + more}f} pt" if is_share(metric) else f"{value:.{3 + more}g}"
    if rule in ("min", "max"):
        return metric_value(metric, value, more)
    if rule == "min_agreement":
        return share(value, more)
    if rule == "min_sqnr_db":
        return decibel(value, more)
    if rule == "max_bytes":
        return f"{value:,.0f} B"
    if rule == "max_slowdown":
        return f"{value:.{3 + more}f}×"
    if rule == "max_median_ms":
        return f"{value:.{4 + more}g} ms"
    return f"{value:.{3 + more}f}" if rule == "max_ratio" else times(value, more)


def brief(text: str) -> str:
    """Text in which fused layers' names are told by the first: TFLite joins them all, with ``;`` between."""
    return re.sub(r"([^\s;(]+)(?:;[^\s;,)]+)+", r"\1;...", text)


def count(number: int) -> str:
    """A number of things, with thousands apart."""
    return f"{number:,}"


def plain(value: float) -> str:
    """A number without a unit."""
    return f"{value:.3g}"


def seconds(duration_s: float) -> str:
    """How long a stage took."""
    return f"{duration_s:.2f} s"


def p_value(probability: float) -> str:
    """A p-value; what is below a thousandth is only said to be."""
    return "< 0.001" if probability < 0.001 else f"{probability:.3f}"


def gain(gain_db: float) -> str:
    """A difference of two SQNRs."""
    return f"{signed(gain_db)} dB"


def signed(value: float) -> str:
    """A difference with one decimal and its sign, which what rounds to nothing has not."""
    rounded = round(value, 1)
    return f"{rounded:+.1f}" if rounded else "0.0"


def small_share(value: float) -> str:
    """A share (0..1) in percent that is mostly far below 1: two digits, and nothing at all only where there is none."""
    if value == 0:
        return "0"
    return "< 0.01 %" if value < 0.0001 else f"{two_digits(100 * value)} %"
