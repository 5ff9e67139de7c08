"""Metrics of the user's: ``module:function``, called as ``f(outputs, labels) -> float``.

``outputs``: every output by name, real values, (N, ...) with the batch dimension of the samples joined. ``labels``:
(N,), or None where the samples have none.
"""

from __future__ import annotations

import importlib
import math
import sys
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tflite_ptq.errors import MeasurementError

Function = Callable[[Mapping[str, NDArray[np.generic]], "NDArray[np.generic] | None"], object]


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


def call(
    name: str, function: Function, outputs: Mapping[str, NDArray[np.generic]], labels: NDArray[np.generic] | None
) -> float:
    """What ``function`` returns, as a finite number. Raises ``MeasurementError`` where it raises or returns another
    thing."""
    try:
        result = function(outputs, labels)
    except (Exception, SystemExit) as error:
        raise MeasurementError(f"metric {name}: the function failed: {_tail(error)}") from error
    if isinstance(result, np.ndarray) and result.ndim == 0:
        result = result.item()
    if isinstance(result, bool) or not isinstance(result, (int, float, np.integer, np.floating)):
        raise MeasurementError(f"metric {name}: the function returned {_short(result)}; it must return a number")
    value = float(result)
    if not math.isfinite(value):
        raise MeasurementError(f"metric {name}: the function returned {value}; it must return a finite number")
    return value


def _tail(error: BaseException) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    reason = "".join(traceback.format_exception_only(type(error), error)).strip().splitlines()[-1]
    # The last frame in the user's code; frame 0 is this file.
    theirs = [frame for frame in frames[1:] if "importlib" not in frame.filename]
    return f"{reason} ({Path(theirs[-1].filename).name}:{theirs[-1].lineno})" if theirs else reason


def _short(value: object) -> str:
    text = repr(value)
    return f"{type(value).__name__} {text if len(text) <= 60 else text[:57] + '...'}"
