"""Operators without an integer kernel, written with others: the same values, and ranges by hand arithmetic."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter
from numpy.typing import NDArray
from tiny_tflite import File, Graph, Op, T

from tflite_ptq.model.editing import Editable
from tflite_ptq.quantize.integer import with_integer_kernels
from tflite_ptq.recipe.schema import Variant

ALL = ("NEG", "SQUARED_DIFFERENCE", "HARD_SWISH")
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
        interpreter.set_tensor(detail["index"], {"x": X, "y": Y}[detail["name"]])
    interpreter.invoke()
    found: NDArray[np.float32] = interpreter.get_tensor(interpreter.get_output_details()[0]["index"])
    return found


@pytest.mark.parametrize(
    ("op", "expected", "written"),
    [
        ("NEG", np.abs(-X), ["MUL", "ABS"]),
        ("SQUARED_DIFFERENCE", (X - Y) ** 2, ["SUB", "MUL", "ABS"]),
        ("HARD_SWISH", np.abs(X * np.clip(X + 3, 0, 6) / 6), ["ADD", "MUL", "MUL", "ABS"]),
    ],
)
def test_the_same_values(op: str, expected: NDArray[np.float32], written: list[str], tmp_path: Path) -> None:
    before = ranged(model(tmp_path, op))
    file, nodes = before.substituting(ALL)
    assert [node.name for node in nodes] == [op]
    after = Editable(file)
    assert [node.name for node in after.nodes()] == written
    assert [node.name for node in before.nodes()] == [op, "ABS"]  # left as it is
    assert (after.inputs, after.outputs) == (before.inputs, before.outputs)
    np.testing.assert_allclose(run(file), expected, rtol=1e-6, atol=1e-6)


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


@pytest.mark.parametrize("dtype", ["FLOAT32", "INT32"])
def test_what_carries_no_ranges_stays(dtype: str, tmp_path: Path) -> None:
    tiny = model(tmp_path, "NEG", dtype)
    assert tiny.substituting(ALL) == ((tmp_path / "tiny.tflite").read_bytes(), ())


def test_each_scheme_keeps_the_operators_that_it_has_a_kernel_for(tmp_path: Path) -> None:
    for op, int8, int16x8 in (("NEG", True, True), ("SQUARED_DIFFERENCE", False, True), ("HARD_SWISH", False, True)):
        file = ranged(model(tmp_path, op)).to_bytes()
        for scheme, expected in (("int8", int8), ("int16x8", int16x8)):
            written, names = with_integer_kernels(file, Variant(scheme=scheme, name="v"))  # type: ignore[arg-type]
            assert names == ((op,) if expected else ())
            assert (written == file) is not expected
