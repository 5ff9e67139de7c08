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
