"""Activation ranges by TFLiteConverter's own calibrator.

Floats do not add up alike in LiteRT's XNNPACK and in the kernels that TensorFlow calibrates with, and the last bit of a
range may turn the rounding of an activation. Where the recipe asks for the converter's own ranges, its calibrator reads
the samples again, but only those few that decide a minimum or a maximum: no other sample changes what it finds.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray
from tensorflow.lite.python.optimize import calibrator

from tflite_ptq.errors import ConversionError, UserError
from tflite_ptq.model.editing import Editable


def stock_ranges(model: bytes, samples: Iterable[Sequence[NDArray[np.generic]]]) -> dict[int, tuple[float, float]]:
    """(minimum, maximum) of each activation of a float model, by tensor index, over ``samples``: inputs in its order.

    As TensorFlow 2.21 reads them: those of a tensor that an operator writes its result over in place hold that result
    too. Activations that it does not watch are left out. Raises ``ConversionError``; errors of samples pass through.
    """
    try:
        calibrated = Editable(bytes(calibrator.Calibrator(model).calibrate(lambda: (list(one) for one in samples))))
    except UserError:
        raise
    except Exception as error:  # RuntimeError, ValueError: the calibrator has no common base
        raise ConversionError(f"TensorFlow's calibrator failed: {error}") from error
    found = {tensor: calibrated.limits(tensor) for tensor in calibrated.activations()}
    return {tensor: limits for tensor, limits in found.items() if limits is not None}
