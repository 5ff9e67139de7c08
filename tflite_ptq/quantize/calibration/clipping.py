"""How much of each activation lies beyond its calibrated range on other samples: counted, not estimated."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from tflite_ptq.model.editing import Editable
from tflite_ptq.model.tap import watching
from tflite_ptq.quantize.calibration.health import Saturation
from tflite_ptq.quantize.calibration.settling import with_zero
from tflite_ptq.result import FIXED_RANGE

_STEPS = 255


def clipped_on(
    model: Editable,
    ranges: Mapping[int, tuple[float, float]],
    samples: Iterable[Sequence[NDArray[np.generic]]],
) -> tuple[Saturation, ...]:
    """The share of values beyond the range of each activation of a float model, over samples in its inputs' order; of
    those whose range is calibrated.

    A value counts from half an int8 step, (max - min) / 255 / 2, beyond the range, zero being part of every range.
    """
    fixed = {tensor for node in model.nodes() if node.name in FIXED_RANGE for tensor in node.outputs}
    watched = tuple(tensor for tensor in ranges if tensor not in fixed)
    tap = watching(model, watched)
    bounds = [with_zero(ranges[tensor]) for tensor in watched]
    margins = [(high - low) / _STEPS / 2 for low, high in bounds]
    below, above, total = np.zeros(len(watched)), np.zeros(len(watched)), np.zeros(len(watched))
    for sample in samples:
        tap.run(sample)
        for i, ((low, high), margin) in enumerate(zip(bounds, margins, strict=True)):
            values = tap.view(i).astype(np.float32, copy=False)
            total[i] += values.size
            if values.size and float(values.min()) < low - margin:
                below[i] += np.count_nonzero(values < low - margin)
            if values.size and float(values.max()) > high + margin:
                above[i] += np.count_nonzero(values > high + margin)
            del values  # LiteRT refuses to run while its memory is looked at
    shares = zip(watched, below / np.maximum(total, 1), above / np.maximum(total, 1), strict=True)
    return tuple(Saturation(model.name(tensor), float(low), float(high)) for tensor, low, high in shares)
