"""Raw timings: what ``latency.json`` beside a report holds, so that nobody has to believe the summary.

All times are integer nanoseconds.
"""

from __future__ import annotations

from typing import Literal

from tflite_ptq.result import Frozen


class TimedProcess(Frozen):
    """One process, which opened one model once: ``runs_ns`` are the counted inferences, in order.

    ``warmup`` inferences came before them; ``steady`` says whether the last of those were (``None``: no warm-up was
    asked for). ``clock_ns`` is the clock's smallest step. ``arena_bytes`` is what LiteRT's arena holds tensors in;
    it and where operators ran are ``None`` where LiteRT does not tell.
    """

    load_ns: int
    first_ns: int
    warmup: int
    steady: bool | None
    runs_ns: tuple[int, ...]
    clock_ns: int
    peak_memory_bytes: int
    arena_bytes: int | None
    delegated_ops: int | None
    total_ops: int | None
    left_ops: dict[str, int] | None


class TimedConfiguration(Frozen):
    """One model with one delegate and a number of threads. ``processes`` has one entry a round, ``None`` where the
    configuration sat a round out or its process died."""

    variant: str
    delegate: str
    threads: int
    processes: tuple[TimedProcess | None, ...]


class RawTimings(Frozen):
    """All of a run. In round ``i`` the configurations ran one after the other, in this order."""

    format: Literal["tflite-ptq-latency/1"] = "tflite-ptq-latency/1"
    configurations: tuple[TimedConfiguration, ...]
