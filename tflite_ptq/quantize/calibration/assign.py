"""The range of every activation, by the recipe's method and its overrides (pure)."""

from __future__ import annotations

from collections.abc import Mapping
from fnmatch import fnmatchcase

from tflite_ptq.errors import MeasurementError
from tflite_ptq.quantize.calibration.ranges import Range, RangeError, entropy, minmax, mse, percentile
from tflite_ptq.quantize.calibration.statistics import TensorStatistics
from tflite_ptq.quantize.exclude import nearest, parts
from tflite_ptq.recipe.dataset import Calibration, Percentile, RangeMethod

_INT8_LEVELS = 256


def needs_histograms(settings: Calibration) -> bool:
    """Whether any method looks at more than minimum and maximum."""
    return any(method != "minmax" for method in (settings.first_method, *settings.overrides.values()))


def ranges_of(
    statistics: Mapping[str, TensorStatistics], settings: Calibration
) -> tuple[dict[str, Range], tuple[str, ...]]:
    """Range by tensor name, and findings on tensors whose range is not what it should be.

    The ranges are chosen for 256 levels; int16x8 shares them, as it has steps to spare. Raises ``MeasurementError`` for
    activations that are NaN or infinite, and for an override that matches nothing.
    """
    found: dict[str, Range] = {}
    findings: list[str] = []
    unused = set(settings.overrides)
    for name, one in statistics.items():
        pattern = next((p for p in settings.overrides if any(fnmatchcase(part, p) for part in parts(name))), None)
        unused.discard(pattern or "")
        method = settings.overrides[pattern] if pattern is not None else settings.first_method
        try:
            found[name] = _range(one, method)
        except RangeError as error:
            if error.fault != "zero width" or error.observed is None:
                raise MeasurementError(
                    f"calibration: activation '{name}': {error}; look at the samples and at the float model"
                ) from error
            found[name] = error.observed
            findings.append(f"activation '{name}' has the same value on every calibration sample")
    if unused:
        pattern = sorted(unused)[0]
        known = sorted({part for name in statistics for part in parts(name)})
        raise MeasurementError(
            f"dataset.calibration.overrides: '{pattern}' matches no activation of the model, or a pattern before it "
            f"takes them all; {nearest(pattern, known)}"
        )
    return found, tuple(findings)


def _range(statistics: TensorStatistics, method: RangeMethod) -> Range:
    if isinstance(method, Percentile):
        return percentile(statistics, method.percentile)
    if method == "mse":
        return mse(statistics, _INT8_LEVELS)
    if method == "entropy":
        return entropy(statistics, _INT8_LEVELS)
    return minmax(statistics)
