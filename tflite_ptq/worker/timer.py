"""A child process that times one model in one configuration: a fresh process each, so none warms another's caches.

One JSON line in: ``Request``. One JSON line out: a reply of ``messages``, whose result is a
``timing_result.TimedProcess``; both written without pydantic, so that the process holds nothing but the interpreter.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import time
import traceback
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypedDict, Union

from tflite_ptq.errors import UserError
from tflite_ptq.measure.steadiness import BLOCK_NS, steady

if TYPE_CHECKING:
    from tflite_ptq.model.timed_compiled import TimedCompiled
    from tflite_ptq.model.timed_model import TimedModel

_SEED = 0
_CLOCK_READS = 1000


class Library(TypedDict):
    """An external delegate: path and options."""

    library: str
    options: dict[str, str]


Delegate = Union[Literal["cpu", "xnnpack", "compiled"], Library]


class Request(TypedDict):
    """What to time. ``warmup``: at least so many inferences before those that count, until steady; 0 means none.

    ``runs`` inferences are counted, fewer where ``seconds``, of which half is the warm-up's, are over before; at least
    one is.
    """

    model: str
    delegate: Delegate
    threads: int
    warmup: int
    runs: int
    seconds: float


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
    """The fields of ``timing_result.TimedProcess``. Raises ``ModelError`` or ``MeasurementError``."""
    asked, half_ns = request["delegate"], int(request["seconds"] * 1e9 / 2)
    opened = _opener(Path(request["model"]), asked, request["threads"])
    started = time.perf_counter_ns()
    model = opened()
    load_ns = time.perf_counter_ns() - started
    model.fill(_SEED)
    started = time.perf_counter_ns()
    model.first()
    first_ns = time.perf_counter_ns() - started
    warmup, settled = _warm_up(model.invoke, request["warmup"], half_ns)
    runs_ns = _timed(model.invoke, request["runs"], 0, half_ns)
    peak_memory_bytes = _peak_memory_bytes()
    operators = model.operators()
    return {
        "load_ns": load_ns,
        "first_ns": first_ns,
        "warmup": warmup,
        "steady": settled,
        "runs_ns": runs_ns,
        "clock_ns": _clock_ns(),
        "peak_memory_bytes": peak_memory_bytes,
        "arena_bytes": model.arena_bytes(),
        "delegated_ops": operators.taken if operators else None,
        "total_ops": operators.total if operators else None,
        "left_ops": None if asked == "cpu" or not operators else operators.left,
    }


def _opener(path: Path, delegate: Delegate, threads: int) -> Callable[[], TimedModel | TimedCompiled]:
    """What opens the model, with all that takes imported: no part of the time to load."""
    if delegate == "compiled":
        from tflite_ptq.model.timed_compiled import TimedCompiled

        return lambda: TimedCompiled(path, threads)
    from tflite_ptq.model.opening import External
    from tflite_ptq.model.timed_model import TimedModel

    own = delegate if isinstance(delegate, str) else External(delegate["library"], delegate["options"])
    return lambda: TimedModel(path, own, threads)


def _warm_up(invoke: Callable[[], None], least: int, max_ns: int) -> tuple[int, bool | None]:
    """How many inferences it took, and whether they were steady in the end (``None``: not asked for)."""
    if least == 0:
        return 0, None
    done, end = 0, time.perf_counter_ns() + max_ns
    while True:
        block = _timed(invoke, least, BLOCK_NS, end - time.perf_counter_ns())
        done += len(block)
        if steady(block):
            return done, True
        if time.perf_counter_ns() >= end:
            return done, False


def _timed(invoke: Callable[[], None], runs: int, least_ns: int, max_ns: int) -> list[int]:
    """Nanoseconds of single inferences: ``runs`` of them, more until ``least_ns`` are over, fewer after ``max_ns``, one
    in any case."""
    clock = time.perf_counter_ns
    samples_ns: list[int] = []
    begin = clock()
    while True:
        started = clock()
        invoke()
        ended = clock()
        samples_ns.append(ended - started)
        spent = ended - begin
        if spent >= max_ns or (len(samples_ns) >= runs and spent >= least_ns):
            return samples_ns


def _clock_ns() -> int:
    """The clock's smallest step as seen from here: its resolution, or the time that reading it takes."""
    reads = sorted({time.perf_counter_ns() for _ in range(_CLOCK_READS)})
    resolution_ns = round(time.get_clock_info("perf_counter").resolution * 1e9)
    return min((later - earlier for earlier, later in pairwise(reads)), default=resolution_ns)


def _peak_memory_bytes() -> int:
    """This process's peak resident memory."""
    # ru_maxrss would do everywhere, but on Linux it starts from the memory of the process that forked this one.
    try:
        status = Path("/proc/self/status").read_text(encoding="ascii", errors="replace")
    except OSError:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else peak * 1024
    return next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmHWM:"))
