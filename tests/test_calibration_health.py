"""Saturation, outliers, concatenations and settling against numbers made for them; input scaling from made files."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from tiny_tflite import File, Graph, Op, T

from tflite_ptq.model.editing import Editable
from tflite_ptq.quantize.calibration.health import (
    Concatenation,
    Observed,
    extreme,
    ill_matched,
    observed,
    outliers,
    saturated,
    saturation,
)
from tflite_ptq.quantize.calibration.histogram import Histogram
from tflite_ptq.quantize.calibration.input_scale import rescales_input
from tflite_ptq.quantize.calibration.settling import Growth, Range, checkpoint_counts, settling, settling_finding

DATA = Path(os.environ.get("TFLITE_PTQ_REAL_DATA", Path(__file__).parents[1] / "../shared/data"))


def seen(values: np.ndarray) -> Observed:
    histogram = Histogram()
    histogram.update(values.astype(np.float32))
    return observed(histogram, float(values.min()), float(values.max()))


def bins(counts: Sequence[int], low: float, high: float) -> Observed:
    return Observed(np.array(counts), np.linspace(low, high, len(counts) + 1), low, high)


NORMAL = np.random.default_rng(0).normal(size=200_000).astype(np.float32)
RELU6 = np.clip(NORMAL * 4, 0, 6)


@pytest.mark.parametrize(
    ("values", "span"),
    [(NORMAL, (-2.0, 1.5)), (NORMAL, (-9.0, 9.0)), (RELU6, (0.0, 5.0)), (RELU6, (0.0, 6.0)), (RELU6, (0.0, 5.999999))],
)
def test_saturation_is_the_share_of_values_half_a_step_beyond(values: np.ndarray, span: Range) -> None:
    (found,) = saturation({"t": span, "other": (0, 1)}, {"t": seen(values), "unknown": seen(values)})
    half = (span[1] - span[0]) / 255 / 2
    below, above = np.mean(values < span[0] - half), np.mean(values > span[1] + half)
    assert (found.below, found.above) == pytest.approx((below, above), abs=2e-4)
    assert (found.below == 0) == (below == 0) and (found.above == 0) == (above == 0)


def test_exact_zeros_do_not_saturate_even_a_range_of_zero_width() -> None:
    values = np.zeros(1000)
    values[:10] = 3
    (found,) = saturation({"t": (0.0, 0.0)}, {"t": seen(values)})
    assert (found.below, found.above) == (0, 0.01)


@pytest.mark.parametrize(
    ("shares", "expected"),
    [
        ({"a": 0.0005}, []),
        ({"a": 0.002, "b": 0}, [("info", "1 activation saturates", ("a: 0.20%",))]),
        ({"a": 0.002, "b": 0.05}, [("warning", "2 activations saturate", ("b: 5.00%", "a: 0.20%"))]),
    ],
)
def test_saturated(shares: dict[str, float], expected: list[tuple[str, str, tuple[str, ...]]]) -> None:
    kept = {
        name: Observed(np.array([10_000 - int(s * 1e4), int(s * 1e4)]), np.array([0.0, 1, 2]), 0, 2)
        for name, s in shares.items()
    }
    found = saturated(saturation(dict.fromkeys(shares, (0.0, 1 / (1 + 1 / 510))), kept), narrowed=False)
    assert [(f.severity, f.text.split(" on ")[0], f.where) for f in found] == expected
    assert not any("minmax" in str(f) for f in found)


@pytest.mark.parametrize("share", [0.0001, 0.01, 0.5, 0.9999, 1.0])
def test_quantile_against_numpy(share: float) -> None:
    width = 8 / 4096  # of the histogram's bins: the values lie within -8..8
    below, above = (float(np.quantile(NORMAL, share, method=side)) for side in ("lower", "higher"))
    assert below - width <= seen(NORMAL).quantile(share) <= above + width
    assert bins([1, 0, 0, 1], 0, 4).quantile(0.5) == 1


def test_outliers() -> None:
    spiked = NORMAL.copy()
    spiked[:3] = 100, -60, 90
    found = outliers({"normal": seen(NORMAL), "relu6": seen(RELU6), "spiked": seen(spiked), "zero": seen(np.zeros(9))})
    assert [item.tensor for item in found] == ["spiked"]
    low, high = np.quantile(spiked, [0.0001, 0.9999])
    assert found[0].ratio == pytest.approx(160 / (high - low), rel=0.02)
    (finding,) = extreme(found)
    assert (finding.severity, finding.where[0][:17]) == ("warning", "spiked: -60..100,")
    assert "about 12 of the 256 levels" in finding.text  # 256 * 7.4 / 160
    assert extreme(()) == ()


def test_a_tensor_of_zeros_and_few_spikes_is_all_outlier() -> None:
    values = np.zeros(100_000)
    values[0] = 50
    (found,) = outliers({"t": seen(values)})
    assert found.ratio > 256
    (found,) = outliers({"t": Observed(np.array([99_999, 1]), np.array([0.0, 0.0, 1.0]), 0, 1)})
    assert found.ratio == math.inf
    assert "about 1 of the 256 levels" in extreme([found])[0].text


@pytest.mark.parametrize(
    ("inputs", "output", "expected"),
    [
        ({"a": (0, 6), "b": (-1, 5)}, (-1, 6), []),
        ({"a": (0, 8), "b": (0.5, 1)}, (0, 8), [("info", 32, ("b: 0.5..1",))]),
        ({"a": (-50, 50), "b": (0, 1), "c": (0, 2), "d": (0, 0)}, (-50, 50), [("warning", 3, ("b: 0..1", "c: 0..2"))]),
    ],
)
def test_concatenations(
    inputs: dict[str, Range], output: Range, expected: list[tuple[str, int, tuple[str, ...]]]
) -> None:
    found = ill_matched([Concatenation("concat", inputs, output)])
    levels = [(f.severity, int(f.text.split("about ")[1].split()[0]), f.where) for f in found]
    assert levels == expected


def growth(at: dict[int, list[Range]], *names: str) -> Growth:
    low, high = np.moveaxis(np.array(list(at.values()), np.float64), 2, 0)
    return Growth(names, np.array(list(at)), low, high)


def grown(at: dict[int, Range], total: int = 500, step: int = 20) -> Growth:
    """Of one tensor that takes the ranges ``at`` from the sample counts given on, and of one that keeps its range."""
    counts = range(step, total + 1, step)
    return growth({n: [at[max(key for key in at if key <= n)], (-1, 1)] for n in counts}, "t", "still")


@pytest.mark.parametrize(
    ("at", "severity", "text"),
    [
        (
            {0: (-1, 1), 120: (-1, 2), 200: (-1, 2.01)},
            "info",
            "120 of your 500 samples would have done for the ranges: ",
        ),
        ({0: (-1, 2)}, "info", "20 of your 500 samples would have done for the ranges: "),
        (
            {0: (5.0, 6), 300: (3.0, 6)},
            "info",
            "20 of your 500 samples would have done for the ranges: ",
        ),  # 0..6 to the quantizer
        (
            {0: (-1, 1), 420: (-1, 2)},
            "warning",
            "still growing at 500: 1 of 2 activation ranges grew by up to 33.3% of their width over the last 20% of "
            "the samples",
        ),
        ({0: (0, 9.8), 500: (0, 10)}, "info", "still growing at 500: 1 of 2 activation ranges grew by up to 2.0% "),
    ],
)
def test_settling(at: dict[int, Range], severity: str, text: str) -> None:
    settled = settling(grown(at))
    assert settled is not None
    finding = settling_finding(settled)
    assert finding.severity == severity and finding.text.startswith(text)
    assert finding.where == (("t",) if "growing" in text else ())


def test_settling_needs_something_to_judge() -> None:
    assert settling(growth({5: [(0, 1)]}, "t")) is None
    assert settling(growth({5: [(0, 1)], 9: [(math.nan, 1)]}, "t")) is None
    empty = (math.inf, -math.inf)
    assert settling(growth({5: [empty], 9: [empty]}, "t")) is None
    late = settling(growth({5: [empty, (0, 1)], 9: [(2, 4), (0, 1)]}, "t", "still"))
    assert late is not None and late.growth == {"t": 1} and late.tensors == 2 and late.enough == 9


@pytest.mark.parametrize("total", [1, 7, 50, 51, 167, 500])
def test_checkpoint_counts(total: int) -> None:
    counts = checkpoint_counts(total, 50)
    assert counts[-1] == total and list(counts) == sorted(set(counts)) and len(counts) == min(total, 50)


def opening(
    path: Path, *steps: tuple[str, list[float] | None], half: bool = False, swap: bool = False, norm: float = 0
) -> Editable:
    """A model of ``steps`` (operator, its constant), then a CONV_2D whose weights have the Euclidean norm ``norm``;
    ``half``: constants in float16, dequantized."""
    shape = (1, 8, 8, 3)
    weights = np.array([0, norm, 0], np.float32)
    tensors, ops, last = [T("x", shape=shape)], [], "x"
    for i, (name, constant) in enumerate(steps):
        inputs = [last]
        if constant is not None:
            dtype = np.float16 if half else np.float32
            data = np.array(constant, dtype)
            size = data.shape if data.size > 1 else ()
            tensors.append(T(f"c{i}", "FLOAT16" if half else "FLOAT32", size, data.tobytes()))
            if half:
                tensors.append(T(f"d{i}", shape=size))
                ops.append(Op("DEQUANTIZE", (f"c{i}",), (f"d{i}",)))
            inputs.append(f"d{i}" if half else f"c{i}")
        tensors.append(T(f"t{i}", shape=shape))
        ops.append(Op(name, inputs[::-1] if swap else inputs, (f"t{i}",)))
        last = f"t{i}"
    tensors += [T("w", shape=(1, 1, 1, 3), data=weights.tobytes()), T("y", shape=(1, 8, 8, 1))]
    ops.append(Op("CONV_2D", (last, "w"), ("y",)))
    return Editable(File([Graph(tensors, ["x"], ["y"], ops)]).write(path / "m.tflite").read_bytes())


MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]


@pytest.mark.parametrize(
    ("steps", "expected"),
    [
        ([], False),
        ([("MUL", [1 / 255])], True),
        ([("MUL", [1 / 127.5]), ("ADD", [-1.0])], True),
        ([("MUL", [1 / 127.5]), ("SUB", [1.0])], True),
        ([("DIV", [255.0])], True),
        ([("SUB", [123.68, 116.78, 103.94])], True),  # caffe
        ([("MUL", [1 / 255]), ("SUB", MEAN), ("DIV", STD)], True),  # torch, for 0..255
        ([("RESIZE_BILINEAR", None), ("CAST", None), ("MUL", [1 / 255])], True),
        ([("SUB", MEAN), ("DIV", STD)], False),  # torch, for 0..1
        ([("MUL", [2.0]), ("SUB", [1.0])], False),  # 0..1 to -1..1
        ([("MUL", [255.0])], False),
        ([("MUL", [255.0]), ("SUB", [123.68, 116.78, 103.94])], False),  # caffe, for 0..1
        ([("RELU", None), ("MUL", [1 / 255])], False),
    ],
)
@pytest.mark.parametrize("half", [False, True])
def test_a_model_that_scales_its_input(
    tmp_path: Path, steps: list[tuple[str, list[float] | None]], expected: bool, half: bool
) -> None:
    assert rescales_input(opening(tmp_path, *steps, half=half)) is expected


@pytest.mark.parametrize(
    ("steps", "norm", "expected"),
    [
        ([], 1.4 / 255, True),
        ([], 1.4, False),
        ([], 0.0, False),  # a dead layer says nothing
        ([("MUL", [1 / 8])], 0.1, True),
        ([("MUL", [255.0])], 1.4 / 255, False),
    ],
)
def test_scaling_folded_into_the_first_weights(
    tmp_path: Path, steps: list[tuple[str, list[float] | None]], norm: float, expected: bool
) -> None:
    assert rescales_input(opening(tmp_path, *steps, norm=norm)) is expected


@pytest.mark.parametrize(("name", "expected"), [("MUL", True), ("SUB", False), ("DIV", False)])
def test_the_constant_first(tmp_path: Path, name: str, expected: bool) -> None:
    """1 / 255 * x scales; 1 / 255 - x and (1 / 255) / x do not."""
    assert rescales_input(opening(tmp_path, (name, [1 / 255]), swap=True)) is expected


def test_nothing_takes_the_input(tmp_path: Path) -> None:
    graph = Graph([T("x")], ["x"], ["x"], [])
    assert rescales_input(Editable(File([graph]).write(tmp_path / "m.tflite").read_bytes())) is None


def test_a_quantized_model_says_nothing() -> None:
    path = DATA / "mlperf_tiny/ic/pretrainedResnet_quant.tflite"
    if not path.exists():
        pytest.skip(f"{path} is not there")
    assert rescales_input(Editable(path.read_bytes())) is False
