"""Operators without an integer kernel, written with others: the same values, and ranges by hand arithmetic."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter
from numpy.typing import NDArray
from tiny_tflite import File, Graph, Op, T

from tflite_ptq.model.editing import Editable
from tflite_ptq.model.flatbuffer import describe
from tflite_ptq.quantize.audit import audit
from tflite_ptq.quantize.integer import quantize, with_integer_kernels
from tflite_ptq.recipe.schema import Variant

ALL = ("NEG", "SQUARE", "SQUARED_DIFFERENCE", "HARD_SWISH", "ELU")
X = np.array([[-5, -3, -1.5, -0.25], [0, 0.5, 2.75, 9]], np.float32)
Y = np.array([1, -2, 0.125, 4], np.float32)


def model(tmp_path: Path, op: str, dtype: str = "FLOAT32") -> Editable:
    """``op`` of ``x`` (2, 4), and of ``y`` (4,) where it takes two, to ``out``; then its absolute value."""
    shapes = {"x": (2, 4), "y": (4,)} if op == "SQUARED_DIFFERENCE" else {"x": (2, 4)}
    tensors = [T(name, dtype, shape) for name, shape in {**shapes, "out": (2, 4), "abs": (2, 4)}.items()]
    graph = Graph(tensors, list(shapes), ["abs"], [Op(op, list(shapes), ["out"]), Op("ABS", ["out"], ["abs"])])
    return Editable(File([graph]).write(tmp_path / "tiny.tflite").read_bytes())


RANGES = {"x": (-5.0, 9.0), "y": (-2.0, 4.0), "out": (-9.0, 49.0), "abs": (0.0, 49.0)}


def ranged(tiny: Editable, **ranges: tuple[float, float]) -> Editable:
    """With ranges of all tensors."""
    all_ranges = RANGES | ranges
    return Editable(tiny.with_ranges({index: all_ranges[name] for name, index in tiny.named().items()}))


def run(file: bytes) -> NDArray[np.float32]:
    interpreter = Interpreter(model_content=file)
    interpreter.allocate_tensors()
    for detail in interpreter.get_input_details():
        interpreter.set_tensor(detail["index"], {"x": X, "y": Y}[str(detail["name"]).removesuffix("_int16")])
    interpreter.invoke()
    found: NDArray[np.float32] = interpreter.get_tensor(interpreter.get_output_details()[0]["index"])
    return found


EXPECTED = {
    "NEG": -X,
    "SQUARE": X**2,
    "SQUARED_DIFFERENCE": (X - Y) ** 2,
    "HARD_SWISH": X * np.clip(X + 3, 0, 6) / 6,
    "ELU": np.where(X > 0, X, np.expm1(X)),
}
WRITTEN = {
    "NEG": ["MUL"],
    "SQUARE": ["MUL"],
    "SQUARED_DIFFERENCE": ["SUB", "MUL"],
    "HARD_SWISH": ["ADD", "MUL", "MUL"],
    "ELU": ["RELU", "SUB", "EXP", "ADD", "ADD"],
}


@pytest.mark.parametrize("op", ALL)
def test_the_same_values(op: str, tmp_path: Path) -> None:
    before = ranged(model(tmp_path, op))
    file, names = before.substituting(ALL)
    assert names == (op,)
    after = Editable(file)
    assert [node.name for node in after.nodes()] == [*WRITTEN[op], "ABS"]
    assert [node.name for node in before.nodes()] == [op, "ABS"]  # left as it is
    assert (after.inputs, after.outputs) == (before.inputs, before.outputs)
    np.testing.assert_allclose(run(file), np.abs(EXPECTED[op]), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(("scheme", "steps_a_span"), [("int8", 2**8), ("int16x8", 2**16)])
@pytest.mark.parametrize("op", ALL)
def test_the_integer_model_is_strict_and_close(
    op: str, scheme: Literal["int8", "int16x8"], steps_a_span: int, tmp_path: Path
) -> None:
    """Within four steps: each operator rounds to half of one, and passes on what those before it rounded."""
    expected = EXPECTED[op]
    low, high = float(min(expected.min(), 0)), float(expected.max())
    most = max(-low, high)
    calibrated = ranged(model(tmp_path, op), out=(low, high), abs=(0, most)).to_bytes()
    variant = Variant(scheme=scheme, name="v")
    made = quantize(with_integer_kernels(Editable(calibrated), variant)[0], variant)
    path = tmp_path / "made.tflite"
    path.write_bytes(made)
    assert audit(describe(path)).fully_integer
    # What x and y are rounded to is multiplied by the steepest slope there is: 2 * 14 of a squared difference.
    steepest = {"SQUARE": 18, "SQUARED_DIFFERENCE": 2 * 14}.get(op, 2)
    step = max(most, (high - low), steepest * (RANGES["x"][1] - RANGES["x"][0])) / steps_a_span
    assert np.abs(run(made) - np.abs(expected)).max() <= 4 * step


def limits(file: bytes) -> dict[str, tuple[float, float]]:
    graph = Editable(file)._graph
    return {
        t.name.decode(): (float(t.quantization.min[0]), float(t.quantization.max[0]))
        for t in graph.tensors
        if t.quantization is not None and t.quantization.min is not None
    }


def test_the_range_of_a_difference_follows_from_that_of_its_square(tmp_path: Path) -> None:
    tiny = ranged(model(tmp_path, "SQUARED_DIFFERENCE"), out=(0, 36))
    file, _ = tiny.substituting(ALL)
    found = limits(file)
    assert found["out;difference"] == (-6, 6)
    assert found["out"] == (0, 36)


@pytest.mark.parametrize(
    ("x", "sum_low", "sum_high"),
    [((-5, 9), 0, 6), ((-1, 1.5), 2, 4.5), ((3, 4), 6, 6), ((-9, -4), 0, 0)],
)
def test_the_ranges_inside_a_hard_swish_follow_from_its_input(
    x: tuple[float, float], sum_low: float, sum_high: float, tmp_path: Path
) -> None:
    file, _ = ranged(model(tmp_path, "HARD_SWISH"), x=x).substituting(ALL)
    found = limits(file)
    for name, divisor in (("out;relu6", 1), ("out;gate", 6)):
        low, high = found[name]
        assert math.isclose(low, sum_low / divisor, rel_tol=1e-6)
        assert math.isclose(high, sum_high / divisor, rel_tol=1e-6, abs_tol=2e-6)
        assert low < high


@pytest.mark.parametrize(
    ("x", "expected"),
    [
        ((-2, 3), {"positive": (0, 3), "negative": (-2, 0), "exp": (math.exp(-2), 1), "rest": (math.exp(-2) - 1, 0)}),
        ((1, 3), {"positive": (1, 3), "negative": (0, 0), "exp": (1, 1), "rest": (0, 0)}),
        ((-200, -1), {"positive": (0, 0), "negative": (-200, -1), "exp": (0, math.exp(-1))}),
    ],
)
def test_the_ranges_inside_an_elu_follow_from_its_input(
    x: tuple[float, float], expected: dict[str, tuple[float, float]], tmp_path: Path
) -> None:
    found = limits(ranged(model(tmp_path, "ELU"), x=x).substituting(ALL)[0])
    for name, (low, high) in expected.items():
        assert found[f"out;{name}"] == pytest.approx((low, high), abs=2e-6)


@pytest.mark.parametrize("dtype", ["FLOAT32", "INT32"])
def test_what_carries_no_ranges_stays(dtype: str, tmp_path: Path) -> None:
    tiny = model(tmp_path, "NEG", dtype)
    assert tiny.substituting(ALL) == ((tmp_path / "tiny.tflite").read_bytes(), ())


def test_each_scheme_keeps_the_operators_that_it_has_a_kernel_for(tmp_path: Path) -> None:
    for op, int8, int16x8 in (
        ("NEG", True, True),
        ("SQUARE", True, True),
        ("ELU", True, True),
        ("SQUARED_DIFFERENCE", False, True),
        ("HARD_SWISH", False, True),
        ("ABS", False, False),
    ):
        file = ranged(model(tmp_path, op)).to_bytes()
        schemes: tuple[tuple[Literal["int8", "int16x8"], bool], ...] = (("int8", int8), ("int16x8", int16x8))
        for scheme, expected in schemes:
            written, names = with_integer_kernels(Editable(file), Variant(scheme=scheme, name="v"))
            assert names == ((op,) if expected else ())
            assert (written == file) is not expected
