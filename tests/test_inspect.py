"""``inspect``: file -> what is printed."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

import pytest
from click.testing import CliRunner
from tiny_tflite import File, Graph, Op, T, int8_dense

from tflite_ptq.cli.inspect import inspect_command
from tflite_ptq.errors import ModelError


def run(*arguments: str) -> str:
    done = CliRunner(env={"COLUMNS": "80"}).invoke(inspect_command, list(arguments), catch_exceptions=False)
    assert done.exit_code == 0
    return done.output


def test_tables(tmp_path: Path) -> None:
    out = run(str(int8_dense(tmp_path / "m.tflite")))
    for text in (
        "Signature serving_default",
        "features",
        "(?, 4)",
        "0.5",
        "-3",
        "FULLY_CONNECTED",
        "TFLite >= 2.3.0",
        "16 bytes",
    ):
        assert text in out, text
    assert out.rstrip().endswith("Full integer: yes")
    assert "\x1b" not in out, "no colours where there is no terminal"


def test_float_io_is_said(tmp_path: Path) -> None:
    out = run(str(int8_dense(tmp_path / "m.tflite", float_io=True)))
    assert out.rstrip().endswith("Full integer: yes, with float inputs or outputs")


def test_float_operators_are_named_and_lines_keep_80_columns(tmp_path: Path) -> None:
    names = [f"model/[bold]block_{number}/{'very_long_name/' * 6}out" for number in range(25)]
    tensors = [T(name) for name in names]
    ops = [Op("RELU", (a,), (b,)) for a, b in pairwise(names)]
    out = run(str(File([Graph(tensors, names[:1], names[-1:], ops)]).write(tmp_path / "m.tflite")))
    assert "Full integer: no, 24 of 24 operators compute in float" in out
    assert f"  - RELU ({names[1]})" in out, "whole on one line, so that it can be copied; no markup"
    assert "and 4 more (--json lists all)" in out
    table = [line for line in out.splitlines() if line.startswith(("│", "┃"))]
    assert table and max(map(len, table)) <= 80


def test_hybrid_operators_are_told_from_float_ones(tmp_path: Path) -> None:
    """As dynamic range leaves them: a weight in int8, one too small for it, and what has no weights."""
    weights = [
        T("w", "INT8", data=bytes(4), scale=(1.0,), zero_point=(0,)),
        T("small", data=bytes(16)),
        T("shape", "INT32", (2,), data=bytes(8)),
    ]
    ops = [
        Op("FULLY_CONNECTED", ("x", "w", None), ("a",)),
        Op("FULLY_CONNECTED", ("a", "small", None), ("b",)),
        Op("RESHAPE", ("b", "shape"), ("y",)),
    ]
    graph = Graph([*map(T, "xaby"), *weights], ["x"], ["y"], ops)
    model = str(File([graph]).write(tmp_path / "m.tflite"))
    assert " ".join(run(model).split()).endswith(
        "Full integer: no, 2 of 3 operators compute in float, 1 hybrid (int8 weights, float activations) "
        "float: 1 FULLY_CONNECTED, 1 RESHAPE - FULLY_CONNECTED (b) - RESHAPE (y) "
        "hybrid: 1 FULLY_CONNECTED - FULLY_CONNECTED (a)"
    )
    found = json.loads(run(model, "--json"))
    assert found["hybrid_ops"] == ["FULLY_CONNECTED (a)"]
    assert set(found["hybrid_ops"]) < set(found["audit"]["float_ops"]), "the audit calls them float, as before"
    every = File([Graph([*map(T, "xa"), weights[0]], ["x"], ["a"], ops[:1])]).write(tmp_path / "every.tflite")
    assert "Full integer: no, 1 of 1 operators hybrid (int8 weights, float activations)" in " ".join(
        run(str(every)).split()
    )


def test_json(tmp_path: Path) -> None:
    found = json.loads(run(str(int8_dense(tmp_path / "m.tflite")), "--json"))
    assert found["format"] == "tflite-ptq-inspection/1"
    assert found["inputs"] == [
        {"name": "features", "shape": [-1, 4], "dtype": "int8", "scale": 0.5, "zero_point": -3},
    ]
    assert found["operators"] == [{"name": "FULLY_CONNECTED", "version": 4, "count": 1}]
    assert found["audit"]["fully_integer"] is True


def test_a_missing_file_is_the_models_fault_not_the_command_lines(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no such file"):
        run(str(tmp_path / "absent.tflite"))


def test_help_has_examples() -> None:
    assert "tflite-ptq inspect out/kws/int8.tflite" in run("--help")
