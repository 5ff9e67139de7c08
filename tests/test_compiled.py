"""The delegate ``compiled``: LiteRT's CompiledModel, from the timer to the report."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from conftest import Command
from test_timing import ask_timer, softmax
from tiny_tflite import File, Graph, Op, T

from tflite_ptq.errors import MeasurementError
from tflite_ptq.timing_result import TimedProcess


def test_timer_child(tmp_path: Path) -> None:
    reply = ask_timer(softmax(tmp_path / "m.tflite"), delegate="compiled", runs=9)
    assert reply["reply"] == "done"
    found = TimedProcess.model_validate_json(reply["result"])
    assert len(found.runs_ns) == 9 and min(found.runs_ns) > 0 and found.warmup > 0
    assert (found.total_ops, found.delegated_ops, found.left_ops, found.arena_bytes) == (None, None, None, None)
    assert 10**7 < found.peak_memory_bytes < 10**9


def test_inputs_of_several_dtypes(tmp_path: Path) -> None:
    """Indices stay 0 or 1, which every table has."""
    tensors = [T("table", shape=(2, 3)), T("place", "INT32", (1,)), T("row", shape=(1, 3))]
    path = File([Graph(tensors, ["table", "place"], ["row"], [Op("GATHER", ["table", "place"], ["row"])])]).write(
        tmp_path / "m.tflite"
    )
    assert ask_timer(path, delegate="compiled")["reply"] == "done"


def test_what_compiled_model_alone_refuses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from tflite_ptq.model import timed_compiled

    class Refusing:
        @staticmethod
        def from_file(path: str, options: object) -> object:
            raise RuntimeError("no\n  buffer")

    monkeypatch.setattr(timed_compiled, "CompiledModel", Refusing)
    path = softmax(tmp_path / "m.tflite")
    with pytest.raises(
        MeasurementError, match=r"does not take this model \(no buffer\); time it with delegate xnnpack"
    ):
        timed_compiled.TimedCompiled(path, 1)


def test_benchmark(run: Command, tmp_path: Path) -> None:
    """Beside the delegates of the interpreter; the files are compared within it."""
    one, other = softmax(tmp_path / "one.tflite"), softmax(tmp_path / "other.tflite")
    asked = ("--delegate", "compiled", "--delegate", "cpu", "--runs", 5, "--max-seconds", 0.001)
    ended = run("benchmark", one, other, *asked, "--json")
    assert ended.code == 0, ended.err
    first, second = json.loads(ended.out)
    assert [timing["delegate"] for timing in first["latency"]] == ["compiled", "cpu"]
    assert all(timing["speedup"] for timing in second["latency"])
    compiled = first["latency"][0]
    assert (compiled["total_ops"], compiled["arena_bytes"], compiled["left_ops"]) == (None, None, None)
    table = run("benchmark", one, *asked)
    assert table.code == 0 and "compiled" in table.out
