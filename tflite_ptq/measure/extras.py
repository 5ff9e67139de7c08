"""Metrics that need a package which is installed on request. Imports none of them."""

from __future__ import annotations

from collections.abc import Iterable
from importlib.util import find_spec

from tflite_ptq.errors import MeasurementError
from tflite_ptq.recipe.metric import EXTRAS, Metric


def require(metrics: Iterable[Metric]) -> None:
    """Raises ``MeasurementError`` for the first metric whose package is missing."""
    for metric in metrics:
        package, extra = EXTRAS.get(metric.name, (None, None))
        if package is not None and find_spec(package) is None:
            raise MeasurementError(
                f"metric {metric.name} needs {package}, which is not installed; install it: "
                f"pip install 'tflite-ptq[{extra}]'"
            )
