"""Affine arithmetic against hand calculations, its own laws, and LiteRT's QUANTIZE and DEQUANTIZE kernels."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_tflite import File, Graph, Op, T

from tflite_ptq.model.affine import dequantize, quantize
from tflite_ptq.model.interpreter import Delegate, Runner

DTYPES = ["int8", "uint8", "int16"]


@pytest.mark.parametrize(
    ("real", "scale", "zero_point", "dtype", "expected"),
    [
        (0.0, 0.5, 3, "int8", 3),
        (0.25, 0.5, 0, "int8", 0),  # ties go to even
        (-0.25, 0.5, 0, "int8", 0),
        (0.75, 0.5, 0, "int8", 2),
        (1.25, 0.5, 0, "int8", 2),
        (-1.25, 0.5, 11, "int8", 9),  # before the zero point is added
        (1000.0, 0.5, 0, "int8", 127),
        (-1000.0, 0.5, 0, "int8", -128),
        (-1.0, 0.5, 0, "uint8", 0),
        (float("inf"), 0.5, 0, "uint8", 255),
        (40000.0, 1.0, 0, "int16", 32767),
        (2147483647.0, 1.0, 0, "int32", 2147483647),
        (-3e9, 1.0, 0, "int32", -2147483648),
    ],
)
def test_quantize_by_hand(real: float, scale: float, zero_point: int, dtype: str, expected: int) -> None:
    quantized = quantize(np.array([real], np.float64), scale, zero_point, dtype)
    assert quantized.dtype == np.dtype(dtype)
    assert quantized.tolist() == [expected]


@pytest.mark.parametrize("size", [4 * 65536, 4 * 65536 + 1, 5 * 65536 + 77])
def test_large_arrays_as_small_ones(size: int) -> None:
    """They are worked on piece by piece."""
    real = np.random.default_rng(0).normal(0, 40, (size, 1)).astype(np.float32)
    whole = quantize(real, 0.5, -3, "int8")
    assert whole.shape == real.shape
    in_float64 = np.clip(np.rint(real.astype(np.float64) / 0.5) - 3, -128, 127)
    np.testing.assert_array_equal(whole, in_float64)


@settings(max_examples=60, deadline=None)
@given(data=st.data(), dtype=st.sampled_from(DTYPES), scale=st.floats(0.0009765625, 1024, width=32))
def test_laws(data: st.DataObject, dtype: str, scale: float) -> None:
    limits = np.iinfo(dtype)
    zero_point = data.draw(st.integers(int(limits.min), int(limits.max)))
    low, high = scale * (limits.min - zero_point), scale * (limits.max - zero_point)
    span = high - low
    shares = data.draw(st.lists(st.floats(-0.5, 1.5), min_size=1, max_size=30))
    real = np.sort(np.array([low + share * span for share in shares], np.float32))
    quantized = quantize(real, scale, zero_point, dtype)
    back = dequantize(quantized, scale, zero_point)
    inside = (real >= low) & (real <= high)
    slack = 1e-6 * max(abs(low), abs(high))
    assert np.all(np.abs(back - real)[inside] <= scale / 2 + slack)  # round trip
    assert np.all(np.diff(quantized.astype(np.int64)) >= 0)  # monotone
    assert np.all(quantized[real < low - scale] == limits.min)  # clipped
    assert np.all(quantized[real > high + scale] == limits.max)
    assert np.array_equal(quantize(back, scale, zero_point, dtype), quantized)  # stable


@pytest.mark.parametrize("delegate", ["cpu", "xnnpack"])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("scale", [0.037, 0.5])  # with 0.5 many values are ties
def test_agrees_with_litert(dtype: str, scale: float, delegate: Delegate, tmp_path: Path) -> None:
    zero_point, count = {"int8": -7, "uint8": 121, "int16": 0}[dtype], 1601
    tensors = [
        T("x", shape=(1, count)),
        T("q", dtype.upper(), (1, count), scale=[scale], zero_point=[zero_point]),
        T("y", shape=(1, count)),
    ]
    graph = Graph(tensors, ["x"], ["q", "y"], [Op("QUANTIZE", ["x"], ["q"]), Op("DEQUANTIZE", ["q"], ["y"])])
    runner = Runner(File([graph]).write(tmp_path / "q.tflite"), delegate, 1)
    real = np.linspace(-100, 100, count, dtype=np.float32)[None]
    stored = float(np.float32(scale))
    kernel = runner.run({"x": real})["y"]
    quantized = quantize(real, stored, zero_point, dtype)
    assert np.array_equal(runner.get_raw(0), quantized)
    # The optimized kernel may fuse scale * q - scale * zero_point: equal up to float32 rounding.
    assert np.allclose(dequantize(quantized, stored, zero_point), kernel, rtol=1e-6, atol=1e-6)
