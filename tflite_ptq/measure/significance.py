"""What one pass over the samples says: each figure with its interval, each change with its paired test."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from tflite_ptq.measure.aggregates import statistic
from tflite_ptq.measure.direction import higher_is_better
from tflite_ptq.measure.evaluation import Evaluation, EvaluationRun
from tflite_ptq.measure.proportions import change_interval, mcnemar_p, share_interval
from tflite_ptq.measure.resampling import Statistic, affordable, bootstrap_p, percentile_interval, resampled
from tflite_ptq.measure.top_k import TOP
from tflite_ptq.recipe.metric import Metric
from tflite_ptq.result import Metric as Figure

Reals = NDArray[np.float64]

ByModel = dict[str, dict[str, Figure]]
"""By model and by metric's key."""


def figures(run: EvaluationRun, metrics: Sequence[Metric], keys: Sequence[str], yardstick: str) -> ByModel:
    """Every figure of every model in ``run``; ``change`` and its test are against the model named ``yardstick``.

    top-k: Wilson's interval, McNemar's exact test and Tango's interval of the change. All else: the bootstrap, over
    the same resamples for all models. One sample alone has no bootstrap, and a figure too costly to be computed
    hundreds of times (ROC AUC of a thousand classes over 50,000 samples) has no interval.
    """
    models = {name: found for name, found in run.results.items() if isinstance(found, Evaluation)}
    truths = [ref.truth for ref in run.measured]
    made: ByModel = {name: {} for name in models}
    drawn: dict[tuple[str, str], Statistic] = {}
    for metric, key in zip(metrics, keys, strict=True):
        base = models.get(yardstick)
        for name, found in models.items():
            if key not in found.metrics:
                continue
            value = found.metrics[key]
            against = None if base is None or name == yardstick or key not in base.metrics else base
            change = None if against is None else value - against.metrics[key]
            made[name][key] = Figure(value=value, change=change, higher_is_better=higher_is_better(key))
            if metric.name in TOP:
                made[name][key] = _share(found.scores[key], None if against is None else against.scores[key], value)
            elif key in found.scores and run.samples > 1:
                drawable = statistic(metric, found.scores[key], truths)
                if affordable(drawable, run.samples):
                    drawn[name, key] = drawable
            elif key in found.redrawn:
                before = None if against is None else against.redrawn.get(key)
                made[name][key] = _sure(made[name][key], found.redrawn[key], before)
    if drawn:
        rows = dict(zip(drawn, resampled(list(drawn.values()), run.samples), strict=True))
        for (name, key), row in rows.items():
            made[name][key] = _sure(made[name][key], row, rows.get((yardstick, key)))
    return made


def _share(hits: Reals, before: Reals | None, value: float) -> Figure:
    """``hits`` and ``before`` (N,): 1.0 or 0.0 a sample."""
    samples = len(hits)
    interval = share_interval(int(hits.sum()), samples)
    if before is None:
        return Figure(value=value, interval=interval)
    lost, won = int((before > hits).sum()), int((hits > before).sum())
    return Figure(
        value=value,
        change=(won - lost) / samples,
        interval=interval,
        change_interval=change_interval(lost, won, samples),
        p_value=mcnemar_p(lost, won),
        test="mcnemar",
    )


def _sure(figure: Figure, row: Reals, before: Reals | None) -> Figure:
    """``figure`` with its interval from ``row`` (R,), and its change's where the yardstick has ``before`` (R,)."""
    sure: dict[str, object] = {"interval": percentile_interval(row, figure.value)}
    if figure.change is not None and before is not None and before.shape == row.shape:
        p_value = bootstrap_p(row - before)
        sure["change_interval"] = percentile_interval(row - before, figure.change)
        sure |= {"p_value": p_value, "test": None if p_value is None else "paired-bootstrap"}
    return figure.model_copy(update=sure)
