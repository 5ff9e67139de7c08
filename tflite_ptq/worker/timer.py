"""A child process that times one model in one configuration: a fresh process each, so none warms another's caches.

One JSON line in: ``timing.TimeFile``. One JSON line out: a reply of ``messages``, written without pydantic, so that the
process holds nothing but the interpreter.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import time
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypedDict

from tflite_ptq.errors import UserError
from tflite_ptq.measure.timing import summarize

if TYPE_CHECKING:
    from tflite_ptq.model.interpreter import Runner

_LEAST_RUNS = 5
_SEED = 0


class Request(TypedDict):
    """What to time. ``threads``, ``warmup`` and ``runs`` are counts; ``max_seconds`` bounds the counted runs."""

    model: str
    delegate: Literal["cpu", "xnnpack"]
    threads: int
    warmup: int
    runs: int
    max_seconds: float


def main() -> None:
    """Read the request from stdin, time, answer on stdout."""
    # LiteRT may print from C++: only the answer may reach the real stdout.
    reply_fd = os.dup(1)
    os.dup2(2, 1)
    request: Request = json.loads(sys.stdin.readline())
    reply: dict[str, str]
    try:
        reply = {"reply": "done", "result": json.dumps(measure(request))}
    except UserError as error:
        reply = {"reply": "failed", "error": type(error).__name__, "message": str(error)}
    except Exception:  # whatever is left is a bug, which the parent reports with its traceback
        reply = {"reply": "bug", "traceback": traceback.format_exc()}
    with os.fdopen(reply_fd, "w", encoding="utf-8") as stdout:
        stdout.write(json.dumps(reply) + "\n")


def measure(request: Request) -> dict[str, object]:
    """The fields of ``result.Latency`` but ``speedup``. Raises ``ModelError`` or ``MeasurementError``."""
    from tflite_ptq.model.interpreter import Runner

    started = time.perf_counter_ns()
    runner = Runner(Path(request["model"]), request["delegate"], request["threads"])
    load_ns = time.perf_counter_ns() - started
    _fill(runner)
    started = time.perf_counter_ns()
    runner.invoke()
    first_ns = time.perf_counter_ns() - started
    deadline = time.perf_counter_ns() + int(request["max_seconds"] * 1e9)
    for _ in range(request["warmup"]):
        runner.invoke()
        if time.perf_counter_ns() > deadline:
            break
    timing = summarize(_timed(runner, request["runs"], int(request["max_seconds"] * 1e9)))
    peak_memory_bytes = _peak_memory_bytes()
    delegated_ops, total_ops = runner.operators()
    return {
        "delegate": request["delegate"],
        "threads": request["threads"],
        "runs": timing.runs,
        "median_ns": timing.median_ns,
        "p90_ns": timing.p90_ns,
        "p99_ns": timing.p99_ns,
        "mean_ns": timing.mean_ns,
        "load_ns": load_ns,
        "first_ns": first_ns,
        "peak_memory_bytes": peak_memory_bytes,
        "delegated_ops": delegated_ops,
        "total_ops": total_ops,
    }


def _timed(runner: Runner, runs: int, max_ns: int) -> list[int]:
    clock, invoke = time.perf_counter_ns, runner.invoke
    samples_ns: list[int] = []
    begin = clock()
    while len(samples_ns) < runs:
        started = clock()
        invoke()
        ended = clock()
        samples_ns.append(ended - started)
        if ended - begin > max_ns and len(samples_ns) >= _LEAST_RUNS:
            break
    return samples_ns


def _fill(runner: Runner) -> None:
    """Uniform values from a fixed seed: the whole range of a quantized input, 0..1 of a float one, else 0 or 1 (an
    index that every table has)."""
    import numpy as np

    rng = np.random.default_rng(_SEED)
    for position, info in enumerate(runner.inputs):
        shape, dtype = runner.raw_shape(position), np.dtype(info.dtype)
        if info.scale is not None:
            limits = np.iinfo(info.dtype)
            runner.set_raw(position, rng.integers(limits.min, limits.max, shape, endpoint=True).astype(dtype))
        elif dtype.kind == "f":
            runner.set_raw(position, rng.random(shape).astype(dtype))
        else:
            runner.set_raw(position, rng.integers(0, 2, shape).astype(dtype))


def _peak_memory_bytes() -> int:
    """This process's peak resident memory."""
    # ru_maxrss would do everywhere, but on Linux it starts from the memory of the process that forked this one.
    try:
        status = Path("/proc/self/status").read_text(encoding="ascii", errors="replace")
    except OSError:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else peak * 1024
    return next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmHWM:"))
