"""Metrics of the user's: ``module:function``, called as ``f(outputs, labels)``.

``outputs``: every output by name, real values, (N, ...) with the batch dimension of the samples joined. ``labels``:
(N,), or None where the samples have none. It returns a number, or an array (N,) of one a sample.
"""

from __future__ import annotations

import importlib
import math
import sys
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tflite_ptq.errors import MeasurementError
from tflite_ptq.measure.resampling import Statistic, resampled

Reals = NDArray[np.float64]
Outputs = Mapping[str, NDArray[np.generic]]
Function = Callable[[Outputs, "NDArray[np.generic] | None"], object]

_RESAMPLES, _MOST_SECONDS = 200, 20.0
"""How often a function that gives one number is called again, and how long that may take."""


def load(name: str, recipe_folder: Path) -> Function:
    """The function named ``module:function``, looked for beside the recipe, then in the working folder, then among
    what is installed. Raises ``MeasurementError`` where it cannot be had."""
    for folder in (str(Path.cwd()), str(recipe_folder.resolve())):
        if folder in sys.path:
            sys.path.remove(folder)
        sys.path.insert(0, folder)
    module_name, _, function_name = name.partition(":")
    importlib.invalidate_caches()
    try:
        module = importlib.import_module(module_name)
    except (Exception, SystemExit) as error:
        raise MeasurementError(
            f"metric {name}: module '{module_name}' cannot be imported: {_tail(error)}; "
            f"put {module_name}.py beside the recipe ({recipe_folder}) or install it"
        ) from error
    function: object = getattr(module, function_name, None)
    if not callable(function):
        raise MeasurementError(f"metric {name}: {module.__file__} has no function '{function_name}'; define it there")
    return function


@dataclass(frozen=True)
class Measured:
    """What a function says of N samples: the figure, and how it varies.

    ``scores`` (N,) where the function gives a value a sample, of which the figure is the mean. ``resampled`` (R,), the
    figure of resamples, NaN where the function has none, for a function that gives one number quickly.
    """

    value: float
    scores: Reals | None = None
    resampled: Reals | None = None
    seconds: float = 0.0


def measure(name: str, function: Function, outputs: Outputs, labels: NDArray[np.generic] | None) -> Measured:
    """Call ``function`` on all samples, and on resamples of them where one call is quick enough.

    Raises ``MeasurementError`` where it raises, or returns what is neither a finite number nor N of them.
    """
    samples = len(next(iter(outputs.values())))
    started = time.perf_counter()
    found = _called(name, function, outputs, labels, samples)
    seconds = time.perf_counter() - started
    if isinstance(found, np.ndarray):
        return Measured(math.fsum(found) / samples, scores=found)
    if samples < 2 or seconds * _RESAMPLES > _MOST_SECONDS:
        return Measured(found, seconds=seconds)
    statistic = Statistic(lambda counts: np.array([_again(name, function, outputs, labels, row) for row in counts]))
    return Measured(found, resampled=resampled([statistic], samples, most=_RESAMPLES)[0], seconds=seconds)


def _again(name: str, function: Function, outputs: Outputs, labels: NDArray[np.generic] | None, counts: Reals) -> float:
    """The figure of one resample; NaN where the function has none (a class may be missing from it)."""
    drawn = np.repeat(np.arange(len(counts)), counts.astype(np.int64))
    some = {key: values[drawn] for key, values in outputs.items()}
    try:
        found = _called(name, function, some, None if labels is None else labels[drawn], len(drawn))
    except MeasurementError:
        return math.nan
    return math.nan if isinstance(found, np.ndarray) else found


def _called(
    name: str, function: Function, outputs: Outputs, labels: NDArray[np.generic] | None, samples: int
) -> float | Reals:
    try:
        result = function(outputs, labels)
    except (Exception, SystemExit) as error:
        raise MeasurementError(f"metric {name}: the function failed on {samples} samples: {_tail(error)}") from error
    if isinstance(result, np.ndarray) and result.ndim == 0:
        result = result.item()
    returned = f"metric {name}: the function returned"
    must = f"on {samples} samples; it must return a finite number, or one a sample ({samples},)"
    if isinstance(result, np.ndarray):
        if result.shape != (samples,) or result.dtype.kind not in "biuf":
            raise MeasurementError(f"{returned} an array of shape {result.shape} and dtype {result.dtype.name} {must}")
        values = result.astype(np.float64)
        wrong = np.flatnonzero(~np.isfinite(values))
        if wrong.size:
            raise MeasurementError(f"{returned} {values[wrong[0]]} for sample {wrong[0]} {must}")
        return values
    if isinstance(result, bool) or not isinstance(result, (int, float, np.integer, np.floating)):
        raise MeasurementError(f"{returned} {_short(result)} {must}")
    if not math.isfinite(result):
        raise MeasurementError(f"{returned} {float(result)} {must}")
    return float(result)


def _tail(error: BaseException) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    reason = "".join(traceback.format_exception_only(type(error), error)).strip().splitlines()[-1]
    # The last frame in the user's code; frame 0 is this file.
    theirs = [frame for frame in frames[1:] if "importlib" not in frame.filename]
    return f"{reason} ({Path(theirs[-1].filename).name}:{theirs[-1].lineno})" if theirs else reason


def _short(value: object) -> str:
    text = repr(value)
    return f"{type(value).__name__} {text if len(text) <= 60 else text[:57] + '...'}"
