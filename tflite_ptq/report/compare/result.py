"""What the comparison of two runs found: frozen, units in the names, versioned JSON."""

from __future__ import annotations

from typing import Literal

from tflite_ptq.result import Frozen, GateCheck, Interval, Status

Kind = Literal["size", "accuracy", "accuracy-change", "fidelity", "latency"]
Verdict = Literal["better", "worse", "same", "unclear"]


class Side(Frozen):
    """One of the two runs."""

    run: str
    recipe: str
    status: Status
    tool: str


class Difference(Frozen):
    """Something other than the figures in which the runs differ; ``None`` where a run does not say."""

    what: str
    baseline: str | None
    candidate: str | None


class Figure(Frozen):
    """One figure of one variant in both runs; ``None`` where a run has none.

    ``name`` is ``size_bytes``, the metric, ``agreement``, ``sqnr_db`` or ``median_ns[xnnpack,2]``. Kind
    ``accuracy-change`` is the metric's change against float32 in each run, which both measured on paired samples.
    ``change`` is candidate minus baseline (accuracy and fidelity), ``ratio`` candidate over baseline (size, latency);
    ``interval`` is of that one. ``verdict`` is ``unclear`` where the interval holds no difference, and ``None`` where a
    figure is missing, or differs and has no interval (a size needs none).
    """

    variant: str
    kind: Kind
    name: str
    baseline: float | None
    candidate: float | None
    higher_is_better: bool
    baseline_interval: Interval | None = None
    candidate_interval: Interval | None = None
    change: float | None = None
    ratio: float | None = None
    interval: Interval | None = None
    verdict: Verdict | None = None


class Comparison(Frozen):
    """A baseline and a candidate. ``missing`` and ``new`` are variants of one run only, ``identical`` those whose
    files are the same byte for byte. ``limits`` are gate checks on the change; ``status`` says whether they hold."""

    format: Literal["tflite-ptq-comparison/1"] = "tflite-ptq-comparison/1"
    baseline: Side
    candidate: Side
    status: Literal["passed", "failed"]
    differences: tuple[Difference, ...]
    figures: tuple[Figure, ...]
    missing: tuple[str, ...]
    new: tuple[str, ...]
    identical: tuple[str, ...]
    limits: tuple[GateCheck, ...]
    warnings: tuple[str, ...]
