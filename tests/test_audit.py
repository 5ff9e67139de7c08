"""Graph -> float operators and verdict; audit and variant -> what disagrees."""

from __future__ import annotations

from pathlib import Path

import pytest
from tiny_tflite import INT8, File, Graph, Op, Sig, T, int8_dense

from tflite_ptq.model.flatbuffer import describe
from tflite_ptq.quantize.audit import audit, findings, hybrid_ops, unscaled
from tflite_ptq.recipe.schema import Variant
from tflite_ptq.result import Audit

X8, Y8, Z8 = (T(name, **INT8) for name in "xyz")  # type: ignore[arg-type]
FX, FY, FZ = T("fx"), T("fy"), T("fz")
W16, W8 = T("w16", "FLOAT16", data=bytes(8)), T("w8", "INT8", data=bytes(4), scale=(1.0,), zero_point=(0,))
S32 = T("s", "INT32", (2,))

GRAPHS: dict[str, tuple[Graph, list[str]]] = {
    "int8": (Graph([X8, Y8], ["x"], ["y"], [Op("RELU", ("x",), ("y",))]), []),
    "int8 behind float io": (
        Graph(
            [FX, X8, Y8, FY],
            ["fx"],
            ["fy"],
            [Op("QUANTIZE", ("fx",), ("x",)), Op("RELU", ("x",), ("y",)), Op("DEQUANTIZE", ("y",), ("fy",))],
        ),
        [],
    ),
    "a float operator amid int8": (
        Graph(
            [X8, FX, FY, Y8],
            ["x"],
            ["y"],
            [Op("DEQUANTIZE", ("x",), ("fx",)), Op("ERF_LIKE", ("fx",), ("fy",)), Op("QUANTIZE", ("fy",), ("y",))],
        ),
        ["DEQUANTIZE (fx)", "ERF_LIKE (fy)", "QUANTIZE (y)"],
    ),
    "dynamic range (int8 weights, float activations)": (
        Graph([FX, W8, FY], ["fx"], ["fy"], [Op("FULLY_CONNECTED", ("fx", "w8", None), ("fy",))]),
        ["FULLY_CONNECTED (fy)"],
    ),
    "float16 weights": (
        Graph(
            [FX, W16, FZ, FY],
            ["fx"],
            ["fy"],
            [Op("DEQUANTIZE", ("w16",), ("fz",)), Op("FULLY_CONNECTED", ("fx", "fz"), ("fy",))],
        ),
        ["FULLY_CONNECTED (fy)"],
    ),
    "shape of a float input": (
        Graph(
            [FX, S32, X8, Y8],
            ["fx"],
            ["y"],
            [Op("SHAPE", ("fx",), ("s",)), Op("QUANTIZE", ("fx",), ("x",)), Op("RESHAPE", ("x", "s"), ("y",))],
        ),
        [],
    ),
    "cast from float": (Graph([FX, S32], ["fx"], ["s"], [Op("CAST", ("fx",), ("s",))]), ["CAST (s)"]),
    "requantize int8": (Graph([X8, Y8], ["x"], ["y"], [Op("QUANTIZE", ("x",), ("y",))]), []),
    "no output": (Graph([FX], ["fx"], [], [Op("ASSIGN_VARIABLE", ("fx",), ())]), ["ASSIGN_VARIABLE (no output)"]),
}


@pytest.mark.parametrize("name", GRAPHS)
def test_float_operators(tmp_path: Path, name: str) -> None:
    graph, expected = GRAPHS[name]
    description = describe(File([graph]).write(tmp_path / "m.tflite"))
    found = audit(description)
    assert list(found.float_ops) == expected
    assert found.fully_integer is (not expected)
    # Half floats are no quantized weights: they are expanded first.
    assert list(hybrid_ops(description)) == (expected if name.startswith("dynamic range") else [])


def test_dtypes_and_counts(tmp_path: Path) -> None:
    found = audit(describe(int8_dense(tmp_path / "m.tflite", float_io=True)))
    assert found == Audit(
        fully_integer=True,
        input_dtypes={"features": "float32"},
        output_dtypes={"scores": "float32"},
        float_ops=(),
        ops={"DEQUANTIZE": 1, "FULLY_CONNECTED": 1, "QUANTIZE": 1},
    )


@pytest.mark.parametrize(("entry", "float_ops"), [(True, 0), (False, 1)])
def test_quantize_in_a_body_is_no_boundary(tmp_path: Path, entry: bool, float_ops: int) -> None:
    main = Graph([X8, Y8], ["x"], ["y"], [Op("WHILE", ("x",), ("y",))])
    body = Graph([FX, X8], ["fx"], ["x"], [Op("QUANTIZE", ("fx",), ("x",))])
    signatures = [Sig("a", {"x": "x"}, {"y": "y"}), *([Sig("b", {"x": "fx"}, {"y": "x"}, 1)] if entry else [])]
    found = audit(describe(File([main, body], signatures).write(tmp_path / "m.tflite")))
    assert len(found.float_ops) == float_ops


def made(inputs: str, outputs: str, *float_ops: str) -> Audit:
    return Audit(
        fully_integer=not float_ops,
        input_dtypes={"i": inputs},
        output_dtypes={"o": outputs},
        float_ops=float_ops,
        ops={"CONV_2D": 1},
    )


FLOATS = tuple(f"ADD (t{number})" for number in range(22))
FINDINGS: list[tuple[Audit, dict[str, object], list[str]]] = [
    (made("int8", "int8"), {"scheme": "int8", "io": "int8"}, []),
    (made("float32", "float32"), {"scheme": "int8"}, []),
    (made("int32", "int64"), {"scheme": "int8", "io": "int8"}, []),
    (made("float32", "float32", "CONV_2D (y)"), {"scheme": "dynamic"}, []),
    (
        made("float32", "uint8"),
        {"scheme": "int8", "io": "int8"},
        ["Input 'i' is float32, but int8 was asked for.", "Output 'o' is uint8, but int8 was asked for."],
    ),
    (
        made("float32", "float32", "ADD (t)"),
        {"scheme": "int8"},
        ["1 operator computes in float, though int8 was asked for without float_fallback: ADD (t)."],
    ),
    (
        made("float32", "float32", "ADD (t)", "MUL (u)"),
        {"scheme": "int16x8", "float_fallback": True},
        ["2 operators compute in float, by float_fallback: ADD (t), MUL (u)."],
    ),
    (
        made("float32", "float32", "ADD (t)"),
        {"scheme": "int8", "exclude": ["t"]},
        ["1 operator computes in float, by exclude: ADD (t)."],
    ),
    (
        made("float32", "float32", "ADD (t)"),
        {"scheme": "int8", "exclude": ["t"], "float_fallback": True},
        ["1 operator computes in float, by exclude and float_fallback: ADD (t)."],
    ),
    (
        made("float32", "float32", *FLOATS),
        {"scheme": "int8"},
        [
            "22 operators compute in float, though int8 was asked for without float_fallback: "
            + ", ".join(FLOATS[:20])
            + " and 2 more."
        ],
    ),
    (
        made("float32", "float32"),
        {"scheme": "float16"},
        ["Every operator computes in integers, but float16 keeps activations in float."],
    ),
]


@pytest.mark.parametrize(("found", "asked", "expected"), FINDINGS)
def test_findings(found: Audit, asked: dict[str, object], expected: list[str]) -> None:
    assert list(findings(found, Variant.model_validate(asked))) == expected


def test_what_has_a_dtype_but_no_scale_is_the_models_own(tmp_path: Path) -> None:
    tensors = [T("image", "UINT8", (1, 4)), T("q", "INT8", (1, 4), scale=[0.5], zero_point=[0]), T("y", shape=(1, 4))]
    graph = Graph(tensors, ["image", "q"], ["y"], [Op("CAST", ["image"], ["y"])])
    assert unscaled(describe(File([graph]).write(tmp_path / "m.tflite"))) == {"image"}


def test_an_integer_input_of_the_models_own() -> None:
    found = made("uint8", "float32")
    assert findings(found, Variant(scheme="int8", name="v"), {"i"}) == ()
    (finding,) = findings(found, Variant(scheme="int8", name="v"))
    assert finding == "Input 'i' is uint8, but float32 was asked for."
    asked = findings(made("uint8", "int8"), Variant(scheme="int8", name="v", io="int8"), {"i"})
    assert asked == ("Input 'i' is uint8, but int8 was asked for.",)
