"""Models that run several samples at once: which they are, and that nothing else comes out of it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter
from float_chain import RELU, Chain, Conv, Dense, Plain
from numpy.typing import NDArray
from tiny_tflite import File, Graph, Op, T

from tflite_ptq.model.editing import Editable
from tflite_ptq.model.rows import independent_rows
from tflite_ptq.model.tap import Tap
from tflite_ptq.quantize.calibration.collect import collect
from tflite_ptq.quantize.calibration.limits import AT_ONCE
from tflite_ptq.quantize.calibration.statistics import Gather

RNG = np.random.default_rng(11)


def graph(folder: Path, tensors: Sequence[T], ops: Sequence[Op], inputs: Sequence[str] = ("x",)) -> Editable:
    return Editable(File([Graph(tensors, inputs, [ops[-1].outputs[0]], ops)]).write(folder / "m.tflite").read_bytes())


def constant(name: str, *shape: int) -> T:
    return T(name, shape=shape, data=np.ones(shape, np.float32).tobytes())


X, Y = T("x", shape=(1, 4)), T("y", shape=(1, 4))
DEEP = [T("x", shape=(1, 3, 4)), T("y", shape=(1, 3, 4))]
MODELS: dict[str, tuple[list[T], list[Op], bool]] = {
    "elementwise": ([X, Y], [Op("LOGISTIC", ["x"], ["y"])], True),
    "of several axes": (DEEP, [Op("TANH", ["x"], ["y"])], True),
    "dense": ([X, Y, constant("w", 4, 4)], [Op("FULLY_CONNECTED", ["x", "w", None], ["y"])], True),
    "dense of several axes": (
        [DEEP[0], T("y", shape=(3, 4)), constant("w", 4, 4)],
        [Op("FULLY_CONNECTED", ["x", "w", None], ["y"])],
        False,
    ),
    "dense whose weights are computed": (
        [X, Y, constant("c", 4, 4), T("w", shape=(1, 4))],
        [Op("NEG", ["x"], ["w"]), Op("FULLY_CONNECTED", ["x", "w", None], ["y"])],
        False,
    ),
    "a constant for each row": ([X, Y, constant("c", 1, 4)], [Op("ADD", ["x", "c"], ["y"])], True),
    "a constant of fewer axes": ([*DEEP, constant("c", 3, 4)], [Op("MUL", ["x", "c"], ["y"])], True),
    "two of the same axes": ([X, Y, T("z", shape=(1, 1))], [Op("ADD", ["x", "z"], ["y"])], True),
    "two of different axes": ([*DEEP, T("z", shape=(1, 4))], [Op("ADD", ["x", "z"], ["y"])], False),
    "softmax": ([X, Y], [Op("SOFTMAX", ["x"], ["y"])], False),
    "reshape": (
        [X, T("y", shape=(1, 4)), T("s", "INT32", (2,), np.array([1, 4], np.int32).tobytes())],
        [Op("RESHAPE", ["x", "s"], ["y"])],
        False,
    ),
    "two rows": ([T("x", shape=(2, 4)), T("y", shape=(2, 4))], [Op("RELU", ["x"], ["y"])], False),
    "one axis": ([T("x", shape=(1,)), T("y", shape=(1,))], [Op("RELU", ["x"], ["y"])], False),
    "integers": ([T("x", "INT32"), T("y", "INT32")], [Op("ABS", ["x"], ["y"])], False),
}


@pytest.mark.parametrize("name", MODELS)
def test_which_models(name: str, tmp_path: Path) -> None:
    tensors, ops, independent = MODELS[name]
    inputs = [tensor.name for tensor in tensors if tensor.name in "xz"]
    assert independent_rows(graph(tmp_path, tensors, ops, inputs)) is independent


def dense(folder: Path) -> Editable:
    layers: list[Conv | Dense | Plain] = [
        Dense(RNG.normal(size=(7, 5)).astype(np.float32), RNG.normal(size=7).astype(np.float32), (1, 7), RELU),
        Plain("TANH"),
        Dense(RNG.normal(size=(3, 7)).astype(np.float32), None, (1, 3)),
    ]
    return Chain((1, 5), layers).build(folder)


def one_at_a_time(model: Editable, samples: Sequence[dict[str, NDArray[np.float32]]], names: Sequence[str]) -> Any:
    """Each float activation of every sample, from an interpreter that keeps them."""
    interpreter = Interpreter(model_content=model.to_bytes(), experimental_preserve_all_tensors=True)
    interpreter.allocate_tensors()
    seen: dict[str, list[Any]] = {model.name(tensor): [] for tensor in model.activations()}
    for sample in samples:
        for index, name in zip(model.inputs, names, strict=True):
            interpreter.set_tensor(index, sample[name])
        interpreter.invoke()
        for name, values in seen.items():
            values.append(np.array(interpreter.get_tensor(model.named()[name])))
    return {name: np.stack(values) for name, values in seen.items()}


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The rows of each run of the interpreter."""
    counted: list[int] = []
    run = Tap.run

    def counting(self: Tap, values: Sequence[NDArray[np.generic]]) -> None:
        counted.append(len(values[0]))
        run(self, values)

    monkeypatch.setattr(Tap, "run", counting)
    return counted


@pytest.mark.filterwarnings("ignore:.*experimental_preserve_all_tensors")
@pytest.mark.parametrize("count", [1, 4, 127, 128, 129, 1500])
def test_the_limits_of_each_sample(count: int, tmp_path: Path, runs: list[int]) -> None:
    model = dense(tmp_path)
    samples = [{"x": (i + 1) * RNG.normal(size=(1, 5)).astype(np.float32)} for i in range(count)]
    wanted = one_at_a_time(model, samples, ["x"])
    runs.clear()
    found, growth = collect(model, ["x"], samples, lambda part: iter(part), Gather(), 2, lambda done, total: None)
    assert set(runs) == {AT_ONCE} and len(runs) == math.ceil(count / AT_ONCE)
    for tensor, one in found.items():
        values = wanted[model.name(tensor)]
        assert (one.samples, one.values, one.non_finite_samples) == (count, values.size, 0)
        assert (one.min, one.max) == pytest.approx((values.min(), values.max()), rel=1e-6, abs=1e-6)
    assert growth.samples[-1] == count
    for after, low, high in zip(growth.samples, growth.low, growth.high, strict=True):
        for name, *limits in zip(growth.names, low, high, strict=True):
            first = wanted[name][:after]
            assert limits == pytest.approx([first.min(), first.max()], rel=1e-6, abs=1e-6)


def test_of_two_inputs_and_the_sample_that_is_not_finite(tmp_path: Path, runs: list[int]) -> None:
    tensors = [T("a", shape=(1, 4)), T("b", shape=(1, 1)), T("sum", shape=(1, 4)), T("out", shape=(1, 4))]
    model = graph(tmp_path, tensors, [Op("ADD", ["a", "b"], ["sum"]), Op("EXP", ["sum"], ["out"])], ["a", "b"])
    samples = [{"a": np.full((1, 4), i, np.float32), "b": np.full((1, 1), 0.5, np.float32)} for i in range(40)]
    samples[37]["a"][0, 2] = 100  # its exponential is infinite

    def skipping(part: Sequence[Any]) -> Iterator[Any]:
        return (sample for sample in part if sample["a"][0, 0] != 5)

    found, _ = collect(model, ["a", "b"], samples, skipping, Gather(), 1, lambda done, total: None)
    by_name = {model.name(tensor): one for tensor, one in found.items()}
    assert runs.count(AT_ONCE) == 2 and runs.count(1) == 1  # one look closer
    assert {name: one.samples for name, one in by_name.items()} == dict.fromkeys(by_name, 39)
    assert {name: one.non_finite_samples for name, one in by_name.items()} == {"a": 0, "b": 0, "sum": 0, "out": 1}
    assert (by_name["sum"].min, by_name["sum"].max) == (0.5, 100.5)
    assert (by_name["out"].min, by_name["out"].max) == (pytest.approx(math.exp(0.5)), math.inf)
