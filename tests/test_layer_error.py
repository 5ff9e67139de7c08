"""Errors of single tensors against plain numpy: sums, clipping, names that the quantizer moved."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tiny_tflite import INT8, File, Graph, Op, T

from tflite_ptq.measure.layer_error import ErrorOfTensor, ErrorSums, pairs, tensor_errors, weight_sqnr_db
from tflite_ptq.model.editing import Affine, Editable
from tflite_ptq.quantize.exclude import excluded_outputs
from tflite_ptq.quantize.exclude_pattern import exclude_patterns

SCALE, ZERO_POINT = 0.5, -3
AFFINE = Affine(np.array([SCALE]), np.array([ZERO_POINT]), 0)


def codes_of(real: np.ndarray) -> np.ndarray:
    return np.clip(np.rint(real / SCALE) + ZERO_POINT, -128, 127).astype(np.int8)


def test_sums_over_samples_against_numpy() -> None:
    rng = np.random.default_rng(0)
    samples = [rng.normal(2, 40, (1, 5, 5, 3)).astype(np.float32) for _ in range(7)]
    sums = ErrorSums(AFFINE, "int8")
    for sample in samples:
        sums.add(sample, codes_of(sample))
    real = np.stack(samples).astype(np.float64)
    error = np.clip(np.rint(real / SCALE), -125, 130) * SCALE - real
    result = sums.result()
    assert result.sqnr_db == pytest.approx(10 * np.log10((real**2).sum() / (error**2).sum()), abs=1e-9)
    assert result.mean_error == pytest.approx(error.mean(), abs=1e-12)
    assert result.max_error == pytest.approx(np.abs(error).max())
    channel_means = error.reshape(-1, 3).mean(axis=0)
    assert result.bias_share == pytest.approx((channel_means**2).mean() / (error**2).mean())
    assert result.clipped_below == pytest.approx((real < -62.75).mean())
    assert result.clipped_above == pytest.approx((real > 65.25).mean())
    assert result.crest_factor == pytest.approx(np.abs(real).max() / np.sqrt((real**2).mean()))
    assert result.clipped_below and result.clipped_above and not result.exact


@pytest.mark.parametrize(
    ("real", "codes", "below", "above"),
    [
        ([-62.5, 65.0], [-128, 127], 0.0, 0.0),  # the limits themselves: a ReLU's zeros sit there unclipped
        ([-62.7, 65.2], [-128, 127], 0.0, 0.0),  # within half a step: rounding, not clipping
        ([-63.0, 66.0], [-128, 127], 0.5, 0.5),
        ([-63.0, 66.0], [-127, 126], 0.0, 0.0),  # beyond, but the codes are not at the limits: another error
    ],
)
def test_clipped_is_what_the_limits_cut_off(real: list[float], codes: list[int], below: float, above: float) -> None:
    sums = ErrorSums(AFFINE, "int8")
    sums.add(np.array(real, np.float32), np.array(codes, np.int8))
    assert (sums.result().clipped_below, sums.result().clipped_above) == (below, above)


@pytest.mark.parametrize(
    ("real", "other", "sqnr", "exact", "bias_share"),
    [
        ([[1.0, 2.0]], [[1.0, 2.0]], None, True, 0.0),
        ([[0.0, 0.0]], [[0.5, 0.0]], None, False, 1.0),
        ([[3.0, 4.0], [3.0, 4.0]], [[3.5, 4.0], [3.5, 4.0]], 10 * np.log10(50 / 0.5), False, 1.0),
        ([[3.0, 4.0], [3.0, 4.0]], [[3.5, 4.0], [2.5, 4.0]], 10 * np.log10(50 / 0.5), False, 0.0),
    ],
)
def test_float_tensors(
    real: list[list[float]], other: list[list[float]], sqnr: float | None, exact: bool, bias_share: float
) -> None:
    sums = ErrorSums(None, "float32")
    sums.add(np.array(real, np.float32), np.array(other, np.float32))
    result = sums.result()
    assert result.sqnr_db == (None if sqnr is None else pytest.approx(sqnr))
    assert (result.exact, result.bias_share) == (exact, pytest.approx(bias_share))
    assert result.clipped_below is None and result.clipped_above is None


def test_error_is_quantized_minus_float() -> None:
    sums = ErrorSums(None, "float32")
    sums.add(np.zeros(2, np.float32), np.array([1.0, 2.0], np.float32))
    assert sums.result().mean_error == 1.5


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("at", range(3))
def test_what_is_not_finite_has_no_figures(bad: float, at: int) -> None:
    sums = ErrorSums(AFFINE, "int8")
    for number in range(3):
        sums.add(np.array([bad if number == at else 1], np.float32), np.zeros(1, np.int8))
    assert sums.result() == ErrorOfTensor(non_finite=True)


def test_weight_sqnr() -> None:
    assert weight_sqnr_db(np.array([3.0, 4.0]), np.array([3.5, 4.0])) == pytest.approx(20.0)
    assert weight_sqnr_db(np.array([3.0, 4.0]), np.array([3.0, 4.0])) is None
    assert weight_sqnr_db(np.zeros(2), np.ones(2)) is None


@pytest.fixture
def models(tmp_path: Path) -> tuple[Editable, Editable]:
    """y = relu(relu(x)) in float, and in int8 behind QUANTIZE and before DEQUANTIZE."""
    real = [T("x"), T("mid"), T("y")]
    ops = [Op("RELU", ("x",), ("mid",)), Op("RELU", ("mid",), ("y",))]
    own = [T("x"), T("q", **INT8), T("mid", **INT8), T("y1", **INT8), T("y")]  # type: ignore[arg-type]
    own_ops = [
        Op("QUANTIZE", ("x",), ("q",)),
        Op("RELU", ("q",), ("mid",), 2),
        Op("RELU", ("mid",), ("y1",), 2),
        Op("DEQUANTIZE", ("y1",), ("y",), 2),
    ]
    return (
        Editable(File([Graph(real, ["x"], ["y"], ops)]).write(tmp_path / "f.tflite").read_bytes()),
        Editable(File([Graph(own, ["x"], ["y"], own_ops)]).write(tmp_path / "q.tflite").read_bytes()),
    )


def test_tensors_are_found_behind_the_edges(models: tuple[Editable, Editable]) -> None:
    reference, quantized = models
    found = {pair.name: quantized.name(pair.quantized) for pair in pairs(reference, quantized)}
    assert found == {"x": "q", "mid": "mid", "y": "y1"}


def test_every_tensor_of_two_models_against_numpy(models: tuple[Editable, Editable]) -> None:
    reference, quantized = models
    rng = np.random.default_rng(1)
    samples = [rng.normal(0, 30, (1, 4)).astype(np.float32) for _ in range(20)]
    found = tensor_errors(reference, quantized, pairs(reference, quantized), (([s], [s]) for s in samples))
    real = np.concatenate(samples).astype(np.float64)
    stored = (codes_of(real).astype(np.float64) - ZERO_POINT) * SCALE
    for name, want, got in (
        ("x", real, stored),
        ("mid", np.maximum(real, 0), np.maximum(stored, 0)),
        ("y", np.maximum(real, 0), np.maximum(stored, 0)),
    ):
        error = got - want
        assert found[name].sqnr_db == pytest.approx(10 * np.log10((want**2).sum() / (error**2).sum()), abs=1e-6), name
        assert found[name].mean_error == pytest.approx(error.mean(), abs=1e-9), name
        assert found[name].clipped_above == (want > 65.25).mean(), name


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["net/conv_1/BiasAdd;net/conv_1/Relu", "net/conv_2/Relu"], ["conv_1", "conv_2"]),
        (["net/pool/AvgPool", "net/pool_1/AvgPool"], ["pool", "pool_1"]),
        (["a;b", "b;c"], ["a", "c"]),
        (["a", "a/b"], [None, "b"]),
        (["t[0]", "t0"], ["t[[]0]", "t0"]),
    ],
)
def test_a_pattern_names_one_layer_alone(tmp_path: Path, names: list[str], expected: list[str | None]) -> None:
    tensors = [T("x"), *(T(name) for name in names)]
    ops = [Op("RELU", (before,), (after,)) for before, after in zip(["x", *names], names, strict=False)]
    model = Editable(File([Graph(tensors, ["x"], [names[-1]], ops)]).write(tmp_path / "m.tflite").read_bytes())
    patterns = exclude_patterns(model)
    assert list(patterns.values()) == expected
    for position, pattern in patterns.items():
        if pattern is not None:
            assert excluded_outputs(model, [pattern], "int8") == {names[position]}
