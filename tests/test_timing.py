"""Timing statistics against numpy, and the timer child from the outside."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from tiny_tflite import File, Graph, Op, T

from tflite_ptq.measure.environment import environment
from tflite_ptq.measure.timing import speedup, summarize
from tflite_ptq.result import Latency


@pytest.mark.parametrize("count", [1, 2, 3, 10, 99, 100, 101])
def test_percentiles_are_numpys(count: int) -> None:
    samples = [int(value) for value in np.random.default_rng(count).integers(1, 10**9, count)]
    timing = summarize(samples)
    expected = [round(float(value)) for value in np.percentile(samples, [50, 90, 99])]
    assert timing.runs == count
    assert np.allclose([timing.median_ns, timing.p90_ns, timing.p99_ns], expected, atol=1)
    assert timing.mean_ns == round(sum(samples) / count)


def test_no_timings_is_a_mistake_of_the_caller() -> None:
    with pytest.raises(ValueError, match="no timings"):
        summarize([])


def test_speedup_is_baseline_over_own_time() -> None:
    assert speedup(300, 100) == 3
    assert speedup(0, 100) is None
    assert speedup(100, 0) is None


def _time(model: Path, **settings: object) -> dict[str, str]:
    request = {"model": str(model), "delegate": "cpu", "threads": 1, "warmup": 1, "runs": 7, "max_seconds": 5}
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
    ("settings", "runs"),
    [({}, 7), ({"max_seconds": 1e-9}, 5), ({"delegate": "xnnpack"}, 7)],  # too little time: five all the same
)
def test_timer_child(settings: dict[str, object], runs: int, tmp_path: Path) -> None:
    graph = Graph([T("x"), T("y")], ["x"], ["y"], [Op("SOFTMAX", ["x"], ["y"])])
    reply = _time(File([graph]).write(tmp_path / "m.tflite"), **settings)
    assert reply["reply"] == "done"
    latency = Latency.model_validate_json(reply["result"])
    assert latency.runs == runs
    assert latency.total_ops == 1
    assert 0 < latency.median_ns <= latency.p90_ns <= latency.p99_ns
    assert latency.load_ns > 0
    assert latency.peak_memory_bytes is not None
    assert 10**7 < latency.peak_memory_bytes < 10**9


def test_timer_child_says_what_is_wrong(tmp_path: Path) -> None:
    path = tmp_path / "m.tflite"
    path.write_bytes(b"no model" * 100)
    reply = _time(path)
    assert (reply["reply"], reply["error"]) == ("failed", "ModelError")
    assert reply["message"] == f"{path}: not a .tflite file, or a truncated one; convert or download it again"


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
