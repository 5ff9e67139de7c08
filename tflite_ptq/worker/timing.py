"""The parent's side of timing: one fresh process a configuration, which imports only the interpreter."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from tflite_ptq.recipe.schema import LatencySettings
from tflite_ptq.result import Frozen, Latency
from tflite_ptq.worker.process import Worker


class TimeFile(Frozen):
    """Time single inferences of ``model`` (a path) in one configuration."""

    job: Literal["time"] = "time"
    model: str
    delegate: str
    threads: int
    warmup: int
    runs: int
    max_seconds: float


def time_file(
    name: str, model: Path, delegate: str, threads: int, settings: LatencySettings, log: Path, timeout_s: float
) -> Latency:
    """Times one file in one configuration, in a process of its own.

    Raises ``MeasurementError`` where LiteRT cannot run the file so, ``WorkerCrash`` where the process dies.
    """
    worker = Worker("tflite_ptq.worker.timer", log, timeout_s)
    request = TimeFile(
        model=str(model),
        delegate=delegate,
        threads=threads,
        warmup=settings.warmup,
        runs=settings.runs,
        max_seconds=settings.max_seconds,
    )
    try:
        return worker.ask(request, Latency, f"latency of {name} ({delegate}, {threads} threads)")
    finally:
        worker.kill()
