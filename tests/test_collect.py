"""What calibration gathers, against LiteRT's own activations read one tensor at a time from a model of its own."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter
from float_chain import RELU, SAME, Chain, Conv, Dense, Plain
from numpy.typing import NDArray
from tiny_tflite import File, Graph, Op, T

from tflite_ptq.errors import DataError
from tflite_ptq.model.editing import Editable
from tflite_ptq.quantize.calibration import collect as calibration_collect
from tflite_ptq.quantize.calibration.collect import collect
from tflite_ptq.quantize.calibration.statistics import Gather, TensorStatistics

Samples = NDArray[np.float32]
RNG = np.random.default_rng(5)
LIMITS = Gather()
pytestmark = pytest.mark.filterwarnings("ignore:.*experimental_preserve_all_tensors")


def streaming(samples: Samples) -> Callable[[Sequence[int]], Iterator[dict[str, Samples]]]:
    return lambda part: ({"x": samples[i]} for i in part)


def collected(
    model: Editable, samples: Samples, gather: Gather = LIMITS, threads: int = 1
) -> dict[str, TensorStatistics]:
    found, _ = collect(model, ["x"], range(len(samples)), streaming(samples), gather, threads, lambda done, total: None)
    return {model.name(tensor): one for tensor, one in found.items()}


def activations(model: Editable, samples: Samples) -> dict[str, Samples]:
    """Each float activation over all samples, from an interpreter that keeps every tensor."""
    interpreter = Interpreter(model_content=model.to_bytes(), experimental_preserve_all_tensors=True)
    interpreter.allocate_tensors()
    seen: dict[str, list[Samples]] = {model.name(tensor): [] for tensor in model.activations()}
    for sample in samples:
        interpreter.set_tensor(model.inputs[0], sample)
        interpreter.invoke()
        for name, values in seen.items():
            values.append(np.array(interpreter.get_tensor(model.named()[name])))
    return {name: np.stack(values) for name, values in seen.items()}


def network(folder: Path) -> Editable:
    weights = RNG.normal(size=(6, 3, 3, 2)).astype(np.float32)
    return Chain(
        (1, 7, 5, 2),
        [
            Conv(weights, RNG.normal(size=6).astype(np.float32), (1, 7, 5, 6), RELU, SAME),
            Plain("LOGISTIC"),
            Conv(RNG.normal(size=(1, 3, 3, 6)).astype(np.float32), None, (1, 5, 3, 6), multiplier=1),
            Dense(RNG.normal(size=(4, 90)).astype(np.float32), None, (1, 4)),
        ],
    ).build(folder)


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("gather", [LIMITS, Gather(means=True, histograms=True)])
@pytest.mark.parametrize("count", [1, 3, 1040])  # fewer than a part holds; more than are kept apart
def test_limits_are_those_of_the_activations(tmp_path: Path, gather: Gather, threads: int, count: int) -> None:
    model = network(tmp_path)
    samples = RNG.normal(size=(count, 1, 7, 5, 2)).astype(np.float32)
    found, wanted = collected(model, samples, gather, threads), activations(model, samples)
    assert found.keys() == wanted.keys() and len(wanted) == 5
    for name, values in wanted.items():
        one = found[name]
        # Equal up to XNNPACK's choice of kernel, which may differ where an activation is kept.
        assert one.min == pytest.approx(values.min(), rel=1e-6, abs=1e-6)
        assert one.max == pytest.approx(values.max(), rel=1e-6, abs=1e-6)
        assert (values[one.min_at].min(), values[one.max_at].max()) == pytest.approx((one.min, one.max), rel=1e-6)
        assert (one.samples, one.values, one.non_finite_samples) == (count, values.size, 0)


def test_activations_reduced_alone_and_together(tmp_path: Path) -> None:
    """Small ones of one shape are stacked; large ones, ranks of one and batches are not: each keeps its place."""
    shapes = {"a": (1, 4), "big": (1, 5000), "b": (1, 4), "line": (6,), "batch": (3, 4), "deep": (1, 2, 3, 2)}
    tensors = [T(prefix + name, shape=shape) for name, shape in shapes.items() for prefix in ("", "out_")]
    ops = [Op("NEG", [name], [f"out_{name}"]) for name in shapes]
    graph = Graph(tensors, list(shapes), [f"out_{name}" for name in shapes], ops)
    model = Editable(File([graph]).write(tmp_path / "m.tflite").read_bytes())
    samples = [{n: RNG.normal(size=s).astype(np.float32) for n, s in shapes.items()} for _ in range(5)]
    names, progress = list(shapes), lambda done, total: None
    found, growth = collect(model, names, samples, lambda part: iter(part), LIMITS, 1, progress)
    assert len(found) == 2 * len(shapes)
    for tensor, one in found.items():
        name = model.name(tensor)
        values = [-sample[name[4:]] if name.startswith("out_") else sample[name] for sample in samples]
        limits = float(min(v.min() for v in values)), float(max(v.max() for v in values))
        assert (one.min, one.max, one.values) == (*limits, 5 * values[0].size)
        place = list(growth.names).index(name)
        assert (growth.low[-1, place], growth.high[-1, place]) == limits


def test_shapes_that_depend_on_the_data(tmp_path: Path) -> None:
    """The file holds a shape of one row for them: rows of one are not taken for another's."""
    zero = np.zeros(1, np.float32).tobytes()
    tensors = [T("x", shape=(2, 4)), T("c", shape=(2,)), T("zero", shape=(1,), data=zero)]
    ops = []
    for name, comparison in (("above", "GREATER"), ("below", "LESS")):
        tensors += [
            T(f"{name} mask", "BOOL", (2,)),
            T(f"{name} where", "INT64", (1, 1), shape_signature=(-1, 1)),
            T(name, shape=(1, 4), shape_signature=(-1, 4)),
            T(f"{name} out", shape=(1, 4), shape_signature=(-1, 4)),
        ]
        ops += [
            Op(comparison, ["c", "zero"], [f"{name} mask"]),
            Op("WHERE", [f"{name} mask"], [f"{name} where"]),
            Op("GATHER_ND", ["x", f"{name} where"], [name]),
            Op("NEG", [name], [f"{name} out"]),
        ]
    graph = Graph(tensors, ["x", "c"], ["above out", "below out"], ops)
    model = Editable(File([graph]).write(tmp_path / "m.tflite").read_bytes())
    rows = np.array([[1, 2, 3, 4], [10, 20, 30, 40]], np.float32)
    samples = [{"x": rows, "c": np.array(c, np.float32)} for c in ([1, -1], [1, 1], [-1, 1])]
    found, _ = collect(model, ["x", "c"], samples, lambda part: iter(part), LIMITS, 1, lambda done, total: None)
    limits = {model.name(tensor): (one.min, one.max) for tensor, one in found.items()}
    assert limits["above"] == (1, 40) and limits["above out"] == (-40, -1)
    # Of no rows there is no limit: the second sample has nothing below.
    assert limits["below"] == (1, 40)


def test_the_tensor_that_is_not_finite_is_named(tmp_path: Path) -> None:
    shapes = {"a": (1, 4), "big": (1, 5000), "b": (1, 4)}
    tensors = [T(prefix + name, shape=shape) for name, shape in shapes.items() for prefix in ("", "out_")]
    ops = [Op("NEG" if name == "a" else "SQRT", [name], [f"out_{name}"]) for name in shapes]
    graph = Graph(tensors, list(shapes), [f"out_{name}" for name in shapes], ops)
    model = Editable(File([graph]).write(tmp_path / "m.tflite").read_bytes())
    samples = [{n: np.full(s, -1 if n == "big" else 1, np.float32) for n, s in shapes.items()} for _ in range(3)]
    found, _ = collect(model, list(shapes), samples, lambda part: iter(part), LIMITS, 1, lambda done, total: None)
    assert [model.name(t) for t, one in found.items() if one.non_finite_samples] == ["out_big"]


@pytest.mark.parametrize("gather", [LIMITS, Gather(histograms=True)])
def test_limits_grow_to_the_whole(tmp_path: Path, gather: Gather) -> None:
    model, count = network(tmp_path), 1100
    samples = (RNG.normal(size=(count, 1, 7, 5, 2)) * np.linspace(0.1, 1, count)[:, None, None, None, None]).astype(
        np.float32
    )
    found, growth = collect(model, ["x"], range(count), streaming(samples), gather, 2, lambda done, total: None)
    seen = growth.samples.tolist()
    assert seen == sorted(set(seen)) and seen[-1] == count and len(seen) == 52
    for row, after in enumerate(seen):
        first, x = samples[:after], list(growth.names).index("x")
        assert (growth.low[row, x], growth.high[row, x]) == (first.min(), first.max())
    last = {model.name(tensor): (one.min, one.max) for tensor, one in found.items()}
    assert dict(zip(growth.names, zip(growth.low[-1], growth.high[-1], strict=True), strict=True)) == last


def chain_of(folder: Path, *names: str) -> Editable:
    return Chain((1, 4), [Plain(name) for name in names]).build(folder)


@pytest.mark.parametrize("gather", [LIMITS, Gather(histograms=True)])
@pytest.mark.parametrize(
    ("operators", "bad", "expected"),
    [
        # LOG of a negative number; REDUCE_MAX and RELU may both lose the NaN.
        (("LOG", "RELU"), [-1, 1, 2, 3], (math.nan, math.nan)),
        (("EXP", "NEG"), [1, 100, 2, 3], (math.exp(1), math.inf)),
    ],
)
def test_what_is_not_finite_is_seen_and_counted(
    tmp_path: Path, gather: Gather, operators: tuple[str, str], bad: list[float], expected: tuple[float, float]
) -> None:
    samples = np.array([[[1, 1, 2, 3]], [bad], [[1, 2, 2, 1]], [[3, 3, 3, 3]]], np.float32)
    found = collected(chain_of(tmp_path, *operators), samples, gather)["t0"]
    assert found.samples == 4 and found.non_finite_samples == 1
    assert (found.min, found.max) == pytest.approx(expected, rel=1e-6, nan_ok=True)


def test_a_sum_that_overflows_is_not_a_value_that_does(tmp_path: Path) -> None:
    samples = np.full((3, 1, 4), 3e38, np.float32)
    found = collected(chain_of(tmp_path, "RELU", "NEG"), samples)
    assert (found["t0"].min, found["t0"].max) == (np.float32(3e38), np.float32(3e38))
    assert found["t1"].max == np.float32(-3e38) and found["t1"].non_finite_samples == 0


def test_a_scalar_among_the_activations(tmp_path: Path) -> None:
    axes = np.array([0, 1], np.int32).tobytes()
    tensors = [T("x"), T("axes", "INT32", (2,), axes), T("total", shape=()), T("y", shape=())]
    path = File(
        [Graph(tensors, ["x"], ["y"], [Op("SUM", ["x", "axes"], ["total"]), Op("NEG", ["total"], ["y"])])]
    ).write(tmp_path / "scalar.tflite")
    found = collected(Editable(path.read_bytes()), np.array([[[1, 2, 3, 4]], [[0, 1, 0, -3]]], np.float32))
    assert (found["total"].min, found["total"].max) == (-2, 10)
    assert (found["y"].min, found["y"].max) == (-10, 2)


@pytest.mark.parametrize("threads", [1, 2])
def test_a_part_without_a_usable_sample(tmp_path: Path, threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calibration_collect, "_WORTH_THREADS_S", 0.0)
    model, samples = network(tmp_path), RNG.normal(size=(40, 1, 7, 5, 2)).astype(np.float32)

    def good(part: Sequence[int]) -> Iterator[dict[str, Samples]]:
        return streaming(samples)([i for i in part if i >= 10])

    found, _ = collect(model, ["x"], range(40), good, LIMITS, threads, lambda done, total: None)
    whole = collected(model, samples[10:])
    assert {model.name(t): (one.min, one.max, one.min_at, one.max_at, one.samples) for t, one in found.items()} == {
        name: (one.min, one.max, one.min_at, one.max_at, 30) for name, one in whole.items()
    }


@pytest.mark.parametrize("gather", [LIMITS, Gather(histograms=True)])
def test_limits_grow_past_samples_that_are_skipped(tmp_path: Path, gather: Gather) -> None:
    model, samples = network(tmp_path), RNG.normal(size=(90, 1, 7, 5, 2)).astype(np.float32)
    kept = [i for i in range(90) if i % 7 and i > 3]

    def good(part: Sequence[int]) -> Iterator[dict[str, Samples]]:
        return streaming(samples)([i for i in part if i in kept])

    _, growth = collect(model, ["x"], range(90), good, gather, 2, lambda done, total: None)
    seen = growth.samples.tolist()
    assert seen == sorted(set(seen)) and seen[-1] == len(kept)
    x = list(growth.names).index("x")
    for after, low, high in zip(seen, growth.low[:, x], growth.high[:, x], strict=True):
        assert (low, high) == (samples[kept[:after]].min(), samples[kept[:after]].max())


def test_no_usable_sample(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="none of the 2 calibration samples could be used"):
        collect(network(tmp_path), ["x"], [1, 2], lambda part: iter(()), Gather(), 2, lambda done, total: None)
