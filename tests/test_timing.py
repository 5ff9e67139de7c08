"""The timer child from the outside, and the figures made of what it says, against hand calculation and numpy."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny_tflite import File, Graph, Op, T

from tflite_ptq.measure.environment import environment
from tflite_ptq.measure.steadiness import steady
from tflite_ptq.measure.timing import against, percentile, summarize
from tflite_ptq.model.timed_model import TimedModel, covered_bytes
from tflite_ptq.timing_result import TimedConfiguration, TimedProcess


def process(*runs_ns: int, **more: Any) -> TimedProcess:
    fields = {
        "load_ns": 1000,
        "first_ns": 500,
        "warmup": 10,
        "steady": True,
        "clock_ns": 1,
        "peak_memory_bytes": 7,
        "arena_bytes": 64,
        "delegated_ops": 1,
        "total_ops": 3,
        "left_ops": {"NEG": 2},
    }
    return TimedProcess.model_validate({**fields, **more, "runs_ns": runs_ns})


def timed(*processes: TimedProcess | None, threads: int = 1) -> TimedConfiguration:
    return TimedConfiguration(variant="v", delegate="cpu", threads=threads, processes=processes)


@pytest.mark.parametrize("count", [1, 2, 3, 10, 99, 100, 101])
@pytest.mark.parametrize("percent", [0, 5, 25, 50, 75, 90, 95, 99, 100])
def test_percentiles_are_numpys(count: int, percent: int) -> None:
    samples = sorted(int(value) for value in np.random.default_rng(count).integers(1, 10**9, count))
    assert percentile(samples, percent) == pytest.approx(np.percentile(samples, percent), abs=1)


def test_figures_by_hand() -> None:
    """Medians of the six processes: 10, 20, 30, 40, 50, 60; the rest is over all runs."""
    spread = [process(10 * n - 1, 10 * n, 10 * n + 4, load_ns=n, first_ns=2 * n) for n in (3, 1, 2, 6, 5, 4)]
    latency = summarize(timed(*spread[:2], None, *spread[2:]), 0.8, cores=1)
    assert latency is not None
    assert (latency.processes, latency.runs) == (6, 18)
    assert latency.process_medians_ns == (30, 10, 20, 60, 50, 40)
    assert latency.median_ns == 35
    assert latency.mean_ns == 36  # 35 + (4 - 1) / 3
    assert (latency.load_ns, latency.first_ns) == (4, 7)  # medians 3.5 and 7, rounded to even
    assert latency.median_interval_ns is not None
    assert (latency.median_interval_ns.low, latency.median_interval_ns.high) == (10, 60)  # of six: the whole range
    assert latency.precision == pytest.approx(25 / 35) and latency.precise is True
    assert (latency.percentiles_ns["0"], latency.percentiles_ns["100"]) == (9, 64)
    assert (latency.arena_bytes, latency.delegated_ops, latency.total_ops, latency.left_ops) == (64, 1, 3, {"NEG": 2})


def test_nothing_timed_is_no_latency() -> None:
    assert summarize(timed(None, None), 0.02, cores=1) is None


@pytest.mark.parametrize(
    ("processes", "threads", "warnings"),
    [
        ([process(1000, 1001, 1002)] * 6, 1, []),
        ([process(1000)] * 5, 1, ["no interval: 5 of at least 6 processes were timed"]),
        (
            [process(1000 + 20 * i) for i in range(6)],
            1,
            ["not known to ±2 % when max_seconds were over: raise max_seconds"],
        ),
        (
            [process(900, 900, 1000, 1100, 1100)] * 6,
            1,
            ["wide spread: the middle half of the inferences spans 20 % of the median"],
        ),
        (
            [process(1000, steady=False)] * 4 + [process(1000)] * 2,
            1,
            ["the warm-up was not steady when its time was up, in 4 of 6 processes: raise max_seconds"],
        ),
        ([process(1000, steady=None)] * 6, 1, []),
        ([process(1000)] * 6, 3, ["3 threads on 2 cores: they wait for each other"]),
        (
            [process(1000, clock_ns=40)] * 6,
            1,
            ["near the clock's resolution: the median is 25 steps of 40 ns"],
        ),
    ],
)
def test_doubts(processes: list[TimedProcess], threads: int, warnings: list[str]) -> None:
    latency = summarize(timed(*processes, threads=threads), 0.02, cores=2)
    assert latency is not None and list(latency.warnings) == warnings


def test_speedup_by_hand() -> None:
    """Rounds 0 to 5 are pairs; round 6 was the reference's alone."""
    reference = timed(*(process(200 * n) for n in (1, 2, 3, 4, 5, 6, 6)))
    own = timed(*(process(100 * n) for n in (1, 2, 3, 4, 5, 6)))
    yardstick, mine = summarize(reference, 0.02, cores=1), summarize(own, 0.02, cores=1)
    assert yardstick is not None and mine is not None
    found = against(mine, own, yardstick, reference)
    assert found.speedup == 800 / 350
    # Within each round the ratio is 2, so the pairs say 2 exactly; the point lies beside it and is taken in.
    assert found.speedup_interval is not None
    assert (found.speedup_interval.low, found.speedup_interval.high) == (2, 800 / 350)


def test_pairing_takes_out_what_disturbs_a_round() -> None:
    """Rounds differ tenfold, the two sides by a twentieth in each: shown, though both medians' intervals overlap."""
    rounds = [1000, 9000, 2000, 7000, 3000, 10000, 1500, 8000]
    reference, own = timed(*(process(105 * n) for n in rounds)), timed(*(process(100 * n) for n in rounds))
    yardstick, mine = summarize(reference, 0.02, cores=1), summarize(own, 0.02, cores=1)
    assert yardstick is not None and mine is not None
    assert yardstick.median_interval_ns is not None and mine.median_interval_ns is not None
    assert mine.median_interval_ns.high > yardstick.median_interval_ns.low
    interval = against(mine, own, yardstick, reference).speedup_interval
    assert interval is not None and 1 < interval.low <= interval.high == pytest.approx(1.05)


def test_times_below_the_clock_have_no_ratio() -> None:
    zero, one = timed(*[process(0)] * 6), timed(*[process(100)] * 6)
    nothing, something = summarize(zero, 0.02, cores=1), summarize(one, 0.02, cores=1)
    assert nothing is not None and something is not None
    assert nothing.precision is None and nothing.precise is False
    assert against(something, one, nothing, zero).speedup is None
    assert against(nothing, zero, something, one).speedup is None


@pytest.mark.parametrize(
    ("block", "expected"),
    [
        ([], False),
        ([100, 100, 100], False),  # too few to show anything
        ([100, 100, 100, 100], True),
        ([102, 102, 100, 100], True),  # 2 of 102 is less than 2 %
        ([103, 103, 100, 100], False),
        ([100, 100, 103, 103], False),  # getting slower is not steady either
        ([100, 100, 900, 100, 100, 100], True),  # one interruption does not count
        ([300, 200, 150, 120, 110, 105, 102, 100], False),
    ],
)
def test_steadiness(block: list[int], expected: bool) -> None:
    assert steady(block) is expected


@pytest.mark.parametrize(
    ("places", "expected"),
    [
        ([], 0),
        ([(0, 10)], 10),
        ([(0, 10), (10, 5)], 15),
        ([(100, 50), (0, 10), (120, 10)], 60),  # the last lies within the first
        ([(0, 10), (5, 10), (12, 8)], 20),
    ],
)
def test_memory_shared_at_different_times_counts_once(places: list[tuple[int, int]], expected: int) -> None:
    assert covered_bytes(places) == expected


def chain(path: Path, length: int) -> Path:
    """``length`` negations of 1,024 float32 values, one after the other."""
    names = [f"t{i}" for i in range(length + 1)]
    ops = [Op("NEG", [before], [after]) for before, after in itertools.pairwise(names)]
    return File([Graph([T(name, shape=(1, 1024)) for name in names], ["t0"], [names[-1]], ops)]).write(path)


@pytest.mark.parametrize(("length", "tensors"), [(1, 2), (2, 3), (9, 3)])
def test_arena_of_a_chain(length: int, tensors: int, tmp_path: Path) -> None:
    """The input keeps its memory; of the tensors after it two are needed at a time."""
    model = TimedModel(chain(tmp_path / "chain.tflite", length), "cpu", 1)
    model.fill(0)
    model.first()
    assert model.arena_bytes() == tensors * 4096
    model.invoke()  # no view of LiteRT's memory is left, or it would refuse


def softmax(path: Path) -> Path:
    return File([Graph([T("x"), T("y")], ["x"], ["y"], [Op("SOFTMAX", ["x"], ["y"])])]).write(path)


def ask_timer(model: Path, **settings: object) -> dict[str, str]:
    request = {"model": str(model), "delegate": "cpu", "threads": 1, "warmup": 1, "runs": 7, "seconds": 5}
    done = subprocess.run(
        [sys.executable, "-c", "from tflite_ptq.worker.timer import main; main()"],
        input=json.dumps({**request, **settings}) + "\n",
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert done.stdout.count("\n") == 1
    reply: dict[str, str] = json.loads(done.stdout)
    return reply


@pytest.mark.parametrize(
    ("settings", "runs", "warmed"),
    [
        ({}, 7, True),
        ({"warmup": 0}, 7, False),
        ({"seconds": 1e-9}, 1, True),  # no time: one all the same
        ({"delegate": "xnnpack", "runs": 9}, 9, True),
    ],
)
def test_timer_child(settings: dict[str, object], runs: int, warmed: bool, tmp_path: Path) -> None:
    reply = ask_timer(softmax(tmp_path / "m.tflite"), **settings)
    assert reply["reply"] == "done"
    found = TimedProcess.model_validate_json(reply["result"])
    assert len(found.runs_ns) == runs and min(found.runs_ns) > 0
    assert (found.warmup > 0) is warmed and (found.steady is None) is not warmed
    assert found.total_ops == 1 and found.delegated_ops + sum((found.left_ops or {"SOFTMAX": 1}).values()) == 1
    assert found.load_ns > 0 and found.clock_ns > 0
    assert 10**7 < found.peak_memory_bytes < 10**9


@pytest.mark.parametrize("delegate", ["cpu", "xnnpack", "compiled"])
def test_timer_child_says_what_is_wrong(delegate: str, tmp_path: Path) -> None:
    path = tmp_path / "m.tflite"
    path.write_bytes(b"no model" * 100)
    reply = ask_timer(path, delegate=delegate)
    assert (reply["reply"], reply["error"]) == ("failed", "ModelError")
    assert reply["message"] == f"{path}: not a .tflite file, or a truncated one; convert or download it again"


def test_timer_child_imports_only_the_interpreter(tmp_path: Path) -> None:
    """What it needs of ours is light, and of others there is what LiteRT itself imports."""
    request = {"model": str(chain(tmp_path / "m.tflite", 1)), "delegate": "cpu", "threads": 1, "warmup": 0, "runs": 1}
    script = (
        "import json, sys\nimport ai_edge_litert.interpreter\nbefore = {name.split('.')[0] for name in sys.modules}\n"
        "from tflite_ptq.worker.timer import measure\n"
        f"measure({request!r} | {{'seconds': 1}})\n"
        "after = {name.split('.')[0] for name in sys.modules}\n"
        "ours = after - before - set(sys.stdlib_module_names)\n"
        "print(json.dumps(sorted(name for name in ours if 'cython' not in name)))"  # of numpy.random
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == ["tflite_ptq"]


def test_environment_needs_neither_tensorflow_nor_numpy() -> None:
    script = (
        "import sys; from tflite_ptq.measure.environment import environment; environment(); "
        "print([name for name in ('tensorflow', 'numpy', 'ai_edge_litert') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
    found = environment()
    assert found.numpy == np.__version__
    assert found.cores >= 1
