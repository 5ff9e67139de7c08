"""The gate: limits and figures -> verdicts, status and exit code."""

from __future__ import annotations

import pytest

from tflite_ptq.recipe.gate import GateLimits
from tflite_ptq.report.gate import exit_code, judge, status
from tflite_ptq.result import Audit, Fidelity, GateCheck, Interval, Latency, Metric, VariantResult

HIGHER = {"top1": True, "top5": True, "mae": False, "my:score": True}
Measured = float | bool | None


def latency(delegate: str, threads: int, median_ns: int, speedup: float | None) -> Latency:
    return Latency(
        delegate=delegate,
        threads=threads,
        runs=100,
        median_ns=median_ns,
        p90_ns=median_ns,
        p99_ns=median_ns,
        mean_ns=median_ns,
        load_ns=1,
        first_ns=1,
        peak_memory_bytes=None,
        delegated_ops=None,
        total_ops=None,
        speedup=speedup,
    )


def audit(fully_integer: bool) -> Audit:
    return Audit(fully_integer=fully_integer, input_dtypes={}, output_dtypes={}, float_ops=(), ops={})


FLOAT32 = VariantResult(
    name="float32",
    scheme="float32",
    size_bytes=1000,
    audit=audit(False),
    accuracy={"top1": Metric(value=0.95), "mae": Metric(value=0.5), "top5": Metric(value=0.99)},
    latency=(latency("cpu", 1, 4_000_000, 1.0), latency("xnnpack", 1, 2_000_000, 1.0)),
)
INT8 = VariantResult(
    name="int8",
    scheme="int8",
    size_bytes=300,
    audit=audit(True),
    accuracy={
        "top1": Metric(value=0.94, change=0.94 - 0.95),
        "mae": Metric(value=0.75, change=0.25),
        "top5": Metric(value=0.995, change=0.005),
    },
    fidelity=Fidelity(agreement=0.98, sqnr_db=31.5, samples=10),
    latency=(latency("cpu", 1, 1_000_000, 4.0), latency("xnnpack", 1, 1_500_000, 4 / 3)),
)


def checks(limits: dict[str, object], *variants: VariantResult) -> list[tuple[str, Measured, bool]]:
    gate = {"int8": GateLimits.model_validate(limits)}
    return [(c.check, c.measured, c.passed) for c in judge(gate, variants or (FLOAT32, INT8), HIGHER)]


@pytest.mark.parametrize(
    ("limits", "check", "measured", "passed"),
    [
        # 0.95 - 0.94 is 0.010000000000000009 in binary, and one point all the same
        ({"accuracy": {"max_drop": 0.01}}, "accuracy.top1.max_drop", 0.01, True),
        ({"accuracy": {"max_drop": 0.0099}}, "accuracy.top1.max_drop", 0.01, False),
        ({"accuracy": {"max_drop": 0.0}}, "accuracy.top1.max_drop", 0.01, False),
        # a gain is a negative drop
        ({"accuracy": {"metric": "top5", "max_drop": 0}}, "accuracy.top5.max_drop", -0.005, True),
        # of an error a rise is the drop
        ({"accuracy": {"metric": "mae", "max_drop": 0.2}}, "accuracy.mae.max_drop", 0.25, False),
        ({"accuracy": {"metric": "mae", "max_drop": 0.25}}, "accuracy.mae.max_drop", 0.25, True),
        ({"accuracy": {"min": 0.94}}, "accuracy.top1.min", 0.94, True),
        ({"accuracy": {"min": 0.941}}, "accuracy.top1.min", 0.94, False),
        ({"accuracy": {"metric": "mae", "max": 0.7}}, "accuracy.mae.max", 0.75, False),
        ({"accuracy": {"metric": "roc_auc", "max_drop": 1}}, "accuracy.roc_auc.max_drop", None, False),
        ({"accuracy": {"metric": "roc_auc", "min": 0}}, "accuracy.roc_auc.min", None, False),
        ({"fidelity": {"min_agreement": 0.98}}, "fidelity.min_agreement", 0.98, True),
        ({"fidelity": {"min_agreement": 0.99}}, "fidelity.min_agreement", 0.98, False),
        ({"fidelity": {"min_sqnr_db": 31.5}}, "fidelity.min_sqnr_db", 31.5, True),
        ({"fidelity": {"min_sqnr_db": 32}}, "fidelity.min_sqnr_db", 31.5, False),
        ({"size": {"max_ratio": 0.3}}, "size.max_ratio", 0.3, True),
        ({"size": {"max_ratio": 0.29}}, "size.max_ratio", 0.3, False),
        ({"size": {"max_bytes": 300}}, "size.max_bytes", 300.0, True),
        ({"size": {"max_bytes": 299}}, "size.max_bytes", 300.0, False),
        ({"latency": {"min_speedup": 4, "delegate": "cpu"}}, "latency.min_speedup[cpu,1]", 4.0, True),
        ({"latency": {"max_median_ms": 1.5, "delegate": "xnnpack"}}, "latency.max_median_ms[xnnpack,1]", 1.5, True),
        ({"latency": {"max_median_ms": 1.4, "delegate": "xnnpack"}}, "latency.max_median_ms[xnnpack,1]", 1.5, False),
        ({"latency": {"min_speedup": 1, "threads": 8}}, "latency.min_speedup[*,8]", None, False),
        ({"fully_integer": True}, "fully_integer", True, True),
        ({"fully_integer": False}, "fully_integer", True, True),
    ],
)
def test_limit(limits: dict[str, object], check: str, measured: Measured, passed: bool) -> None:
    ((name, figure, verdict),) = checks(limits)
    assert (name, verdict) == (check, passed)
    assert figure == (pytest.approx(measured) if isinstance(measured, float) else measured)


def test_latency_must_hold_in_every_configuration() -> None:
    assert checks({"latency": {"min_speedup": 1.5}}) == [
        ("latency.min_speedup[cpu,1]", 4.0, True),
        ("latency.min_speedup[xnnpack,1]", 4 / 3, False),
    ]


def test_configuration_that_only_float32_was_timed_in_is_not_passed() -> None:
    cpu_only = INT8.model_copy(update={"latency": (latency("cpu", 1, 1_000_000, 4.0),)})
    assert checks({"latency": {"min_speedup": 1.5}}, FLOAT32, cpu_only) == [
        ("latency.min_speedup[cpu,1]", 4.0, True),
        ("latency.min_speedup[xnnpack,1]", None, False),
    ]


SURE = Interval(low=-0.02, high=0.01)
SURE_INT8 = INT8.model_copy(
    update={
        "accuracy": {
            "top1": Metric(value=0.94, change=-0.01, interval=Interval(low=0.93, high=0.95), change_interval=SURE),
            "mae": Metric(value=0.75, change=0.25, interval=Interval(low=0.7, high=0.8), change_interval=SURE),
        },
        "latency": (
            INT8.latency[0].model_copy(  # type: ignore[index]
                update={
                    "speedup_interval": Interval(low=3.8, high=4.1),
                    "median_interval_ns": Interval(low=9e5, high=12e5),
                }
            ),
        ),
    }
)


@pytest.mark.parametrize(
    ("limits", "measured", "passed"),
    [
        # the change may be as bad as -0.02: a drop of 0.02; of an error the rise of 0.01 is the worst
        ({"accuracy": {"max_drop": 0.019, "confidence": 0.95}}, 0.02, False),
        ({"accuracy": {"max_drop": 0.02, "confidence": 0.95}}, 0.02, True),
        ({"accuracy": {"metric": "mae", "max_drop": 0.01, "confidence": 0.95}}, 0.01, True),
        ({"accuracy": {"metric": "mae", "max_drop": 0.009, "confidence": 0.95}}, 0.01, False),
        ({"accuracy": {"min": 0.931, "confidence": 0.95}}, 0.93, False),
        ({"accuracy": {"min": 0.93, "confidence": 0.95}}, 0.93, True),
        ({"accuracy": {"metric": "mae", "max": 0.79, "confidence": 0.95}}, 0.8, False),
        ({"latency": {"min_speedup": 3.9, "delegate": "cpu", "confidence": 0.95}}, 3.8, False),
        ({"latency": {"min_speedup": 3.8, "delegate": "cpu", "confidence": 0.95}}, 3.8, True),
        ({"latency": {"max_median_ms": 1.1, "delegate": "cpu", "confidence": 0.95}}, 1.2, False),
        ({"latency": {"max_median_ms": 1.2, "delegate": "cpu", "confidence": 0.95}}, 1.2, True),
    ],
)
def test_confidence_asks_for_the_pessimistic_end(limits: dict[str, object], measured: float, passed: bool) -> None:
    gate = {"int8": GateLimits.model_validate(limits)}
    (check,) = judge(gate, (FLOAT32, SURE_INT8), HIGHER)
    assert (check.measured, check.passed, check.confidence) == (pytest.approx(measured), passed, 0.95)


def test_a_figure_without_an_interval_is_not_sure() -> None:
    limits = {
        "accuracy": {"max_drop": 1, "min": 0, "max": 1, "confidence": 0.95},
        "latency": {"min_speedup": 0.1, "max_median_ms": 1e6, "delegate": "cpu", "confidence": 0.95},
    }
    found = checks(limits)
    assert len(found) == 5
    assert {(measured, passed) for _, measured, passed in found} == {(None, False)}


EVERY_LIMIT: dict[str, object] = {
    "accuracy": {"max_drop": 1, "min": 0, "max": 1},
    "fidelity": {"min_agreement": 0, "min_sqnr_db": -100},
    "size": {"max_ratio": 9, "max_bytes": 9000},
    "latency": {"min_speedup": 0.1, "max_median_ms": 1e6},
    "fully_integer": False,
}
EMPTY = VariantResult(name="int8", scheme="int8")


@pytest.mark.parametrize("variants", [(FLOAT32, EMPTY), (FLOAT32,), (EMPTY,)], ids=["bare", "missing", "no float32"])
def test_nothing_measured_never_passes(variants: tuple[VariantResult, ...]) -> None:
    found = checks(EVERY_LIMIT, *variants)
    assert len(found) >= 10
    assert {(measured, passed) for _, measured, passed in found} == {(None, False)}


def test_nan_never_passes() -> None:
    nan = float("nan")
    broken = INT8.model_copy(
        update={
            "accuracy": {"top1": Metric(value=nan)},
            "fidelity": Fidelity(agreement=nan, sqnr_db=nan, samples=1),
            "latency": (latency("cpu", 1, 1, nan),),
        }
    )
    limits = {
        "accuracy": {"max_drop": 1, "min": 0, "max": 1},
        "fidelity": {"min_agreement": 0, "min_sqnr_db": 0},
        "latency": {"min_speedup": 0.1, "delegate": "cpu"},
    }
    found = checks(limits, FLOAT32, broken)
    assert len(found) == 6
    assert {(measured, passed) for _, measured, passed in found} == {(None, False)}


def test_identical_outputs_have_an_infinite_sqnr() -> None:
    exact = INT8.model_copy(update={"fidelity": Fidelity(agreement=1, sqnr_db=None, exact=True, samples=1)})
    assert checks({"fidelity": {"min_sqnr_db": 300}}, FLOAT32, exact) == [("fidelity.min_sqnr_db", None, True)]


def test_float_model_is_not_fully_integer() -> None:
    fallback = INT8.model_copy(update={"audit": audit(False)})
    assert checks({"fully_integer": True}, FLOAT32, fallback) == [("fully_integer", False, False)]


PASS = GateCheck(variant="int8", check="size.max_ratio", limit=1, measured=0.3, passed=True)
FAIL = PASS.model_copy(update={"passed": False})
FAULTY = EMPTY.model_copy(update={"error": "the converter aborted"})


@pytest.mark.parametrize(
    ("variants", "found", "errors", "expected", "code"),
    [
        ((INT8,), (), (), "passed", 0),
        ((INT8,), (PASS,), (), "passed", 0),
        ((INT8,), (PASS, FAIL), (), "failed", 5),
        ((INT8, FAULTY), (PASS,), (), "error", 4),
        ((INT8, FAULTY), (FAIL,), (), "error", 4),
        ((INT8,), (FAIL,), ("calibration crashed",), "error", 4),
        ((), (), ("nothing was made",), "error", 4),
    ],
)
def test_status(
    variants: tuple[VariantResult, ...], found: tuple[GateCheck, ...], errors: tuple[str, ...], expected: str, code: int
) -> None:
    verdict = status(variants, found, errors)
    assert (verdict, exit_code(verdict)) == (expected, code)
