"""Names of metrics and which way is better. Pure, without numpy: the parent process reads it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from tflite_ptq.recipe.metric import Metric

_ERRORS = frozenset({"mae", "mse", "rmse", "reconstruction_mae", "reconstruction_mse", "wer"})


def metric_keys(metrics: Sequence[Metric]) -> tuple[str, ...]:
    """The name of each metric in a report: ``top1``, or ``top1(logits)`` where one name is asked for twice."""
    names = Counter(metric.name for metric in metrics)
    return tuple(metric.name if names[metric.name] == 1 else f"{metric.name}({_detail(metric)})" for metric in metrics)


def higher_is_better(name: str) -> bool:
    """Whether a higher value of the metric (its name or key) is better; a function of the user's counts as a score."""
    return name.partition("(")[0] not in _ERRORS


def _detail(metric: Metric) -> str:
    parts = [metric.output or "", metric.score if metric.score != "output" else ""]
    return ", ".join(part for part in parts if part)
