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
from tflite_ptq.quantize.audit import audit, ill_scaled
from tflite_ptq.quantize.integer import quantize, with_integer_kernels
from tflite_ptq.recipe.schema import Variant

ALL = ("NEG", "SQUARE", "SQUARED_DIFFERENCE", "HARD_SWISH", "ELU", "MINIMUM")
OF_TWO = ("SQUARED_DIFFERENCE", "MINIMUM")
X = np.array([[-5, -3, -1.5, -0.25], [0, 0.5, 2.75, 9]], np.float32)
Y = np.array([1, -2, 0.125, 4], np.float32)


def model(tmp_path: Path, op: str, dtype: str = "FLOAT32") -> Editable:
    """``op`` of ``x`` (2, 4), and of ``y`` (4,) where it takes two, to ``out``; then its absolute value."""
    shapes = {"x": (2, 4), "y": (4,)} if op in OF_TWO else {"x": (2, 4)}
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
        name = str(detail["name"]).removesuffix("_int16")
        interpreter.set_tensor(detail["index"], {"x": X, "y": Y, "above": X > 0}[name])
    interpreter.invoke()
    found: NDArray[np.float32] = interpreter.get_tensor(interpreter.get_output_details()[0]["index"])
    return found


EXPECTED = {
    "NEG": -X,
    "SQUARE": X**2,
    "SQUARED_DIFFERENCE": (X - Y) ** 2,
    "HARD_SWISH": X * np.clip(X + 3, 0, 6) / 6,
    "ELU": np.where(X > 0, X, np.expm1(X)),
    "MINIMUM": np.minimum(X, Y),
}
WRITTEN = {
    "NEG": ["MUL"],
    "SQUARE": ["MUL"],
    "SQUARED_DIFFERENCE": ["SUB", "MUL"],
    "HARD_SWISH": ["ADD", "MUL", "MUL"],
    "ELU": ["RELU", "SUB", "EXP", "ADD", "ADD"],
    "MINIMUM": ["SUB", "SUB"],
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


@pytest.mark.parametrize("axes", [(1,), (0, 1)])
def test_a_sum_in_int16_is_not_held_to_the_scale_of_what_is_added(axes: tuple[int, ...], tmp_path: Path) -> None:
    """x in 0..9, 4 or 8 of them: TensorFlow's own stops at 9. Twice the rounding of the mean, times the number."""
    values = np.abs(X) + 1
    shape = (2,) if len(axes) == 1 else ()
    tensors = [
        T("x", shape=(2, 4)),
        T("axes", "INT32", (len(axes),), np.array(axes, np.int32).tobytes()),
        T("out", shape=shape),
        T("abs", shape=shape),
    ]
    ops = [Op("SUM", ["x", "axes"], ["out"]), Op("ABS", ["out"], ["abs"])]
    tiny = Editable(File([Graph(tensors, ["x"], ["abs"], ops)]).write(tmp_path / "sum.tflite").read_bytes())
    expected = values.sum(axis=axes)
    most = float(expected.max())
    limits = {"x": (0.0, 10.0), "out": (0.0, most), "abs": (0.0, most)}
    calibrated = tiny.with_ranges({tiny.named()[name]: span for name, span in limits.items()})
    variant = Variant(scheme="int16x8", name="v")
    file, names = with_integer_kernels(Editable(calibrated), variant)
    assert names == ("SUM",)
    assert [node.name for node in Editable(file).nodes()] == ["MEAN", "MUL", "ABS"]
    for made in (file, quantize(file, variant)):
        interpreter = Interpreter(model_content=made)
        interpreter.allocate_tensors()
        interpreter.set_tensor(interpreter.get_input_details()[0]["index"], values)
        interpreter.invoke()
        found = interpreter.get_tensor(interpreter.get_output_details()[0]["index"])
        assert found.shape == expected.shape
        np.testing.assert_allclose(found, expected, atol=2 * 8 * 10 / 32767 if made is not file else 1e-5)


def test_the_least_of_a_value_and_a_constant(tmp_path: Path) -> None:
    """The constant's range is that of its values; that of the gap follows: 9 - 0.125."""
    tensors = [T("x", shape=(2, 4)), T("y", shape=(1,), data=np.array([0.125], np.float32).tobytes())]
    tensors += [T("out", shape=(2, 4)), T("abs", shape=(2, 4))]
    ops = [Op("MINIMUM", ["x", "y"], ["out"]), Op("ABS", ["out"], ["abs"])]
    tiny = Editable(File([Graph(tensors, ["x"], ["abs"], ops)]).write(tmp_path / "least.tflite").read_bytes())
    ranges = {"x": (-5.0, 9.0), "out": (-5.0, 0.125), "abs": (0.0, 5.0)}
    calibrated = tiny.with_ranges({tiny.named()[name]: span for name, span in ranges.items()})
    variant = Variant(scheme="int16x8", name="v")
    file, names = with_integer_kernels(Editable(calibrated), variant)
    assert names == ("MINIMUM",)
    assert limits(file)["out;gap"] == (0, 8.875)
    expected = np.abs(np.minimum(X, 0.125))
    np.testing.assert_allclose(run(file), expected, atol=1e-6)
    assert np.abs(run(quantize(file, variant)) - expected).max() <= 4 * 14 / 2**16


@pytest.mark.parametrize("chained", [False, True])
def test_what_a_select_joins_in_int16_has_one_scale(chained: bool, tmp_path: Path) -> None:
    """x where it is above zero, else x / 10: LiteRT's kernel copies integers, and TensorFlow gives each side its own
    scale. In a chain the joined values are joined with x * 7 again."""
    tensors = [T("x", shape=(2, 4)), T("above", "BOOL", (2, 4)), T("small", shape=(2, 4)), T("out", shape=(2, 4))]
    tensors += [T("tenth", shape=(1,), data=np.full(1, 0.1, np.float32).tobytes())]
    ops = [Op("MUL", ["x", "tenth"], ["small"]), Op("SELECT", ["above", "x", "small"], ["out"])]
    ranges = {"x": (-5.0, 9.0), "small": (-0.5, 0.9), "out": (-0.5, 9.0)}
    expected, last = np.where(X > 0, X, X / 10), "out"
    if chained:
        tensors += [T("seven", shape=(1,), data=np.full(1, 7, np.float32).tobytes())]
        tensors += [T("large", shape=(2, 4)), T("end", shape=(2, 4))]
        ops += [Op("MUL", ["x", "seven"], ["large"]), Op("SELECT", ["above", "large", "out"], ["end"])]
        ranges |= {"large": (-35.0, 63.0), "end": (-0.5, 63.0)}
        expected, last = np.where(X > 0, X * 7, X / 10), "end"
    tiny = Editable(File([Graph(tensors, ["x", "above"], [last], ops)]).write(tmp_path / "select.tflite").read_bytes())
    calibrated = tiny.with_ranges({tiny.named()[name]: span for name, span in ranges.items()})
    path = tmp_path / "made.tflite"
    path.write_bytes(quantize(calibrated, Variant(scheme="int16x8", name="v", float_fallback=True)))
    assert ill_scaled(describe(path)) == ()
    assert np.abs(run(path.read_bytes()) - expected).max() <= 4 * 63 / 32767


def test_a_select_of_several_scales_is_told(tmp_path: Path) -> None:
    tensors = [T("c", "BOOL", (4,)), T("a", "INT16", (4,), scale=[0.1], zero_point=[0])]
    tensors += [T("b", "INT16", (4,), scale=[0.1], zero_point=[0]), T("y", "INT16", (4,), scale=[0.2], zero_point=[0])]
    graph = Graph(tensors, ["c", "a", "b"], ["y"], [Op("SELECT_V2", ["c", "a", "b"], ["y"])])
    assert ill_scaled(describe(File([graph]).write(tmp_path / "s.tflite"))) == ("SELECT_V2 (y)",)


@pytest.mark.parametrize(("signature", "written"), [((-1, 4), True), ((1, -1), False)])
def test_a_sum_of_an_unknown_number_of_values_is_left(signature: list[int], written: bool, tmp_path: Path) -> None:
    tensors = [T("x", shape=(1, 4)), T("out", shape=(1,))]
    tensors += [T("axes", "INT32", (1,), np.array([1], np.int32).tobytes())]
    graph = Graph(tensors, ["x"], ["out"], [Op("SUM", ["x", "axes"], ["out"])])
    tiny = Editable(File([graph]).write(tmp_path / "sum.tflite").read_bytes())
    tiny._graph.tensors[0].shapeSignature = list(signature)
    ranged = tiny.with_ranges({index: (0.0, 9.0) for name, index in tiny.named().items() if name != "axes"})
    assert Editable(ranged).substituting(["SUM"])[1] == (("SUM",) if written else ())
