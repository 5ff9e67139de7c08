"""Shapes that a file leaves open, such as those that follow an open batch: known once the model has run.

In the place of an open size the file holds 1. That is right for the batch itself, but not for what is computed of it:
SPACE_TO_BATCH_ND makes four samples of one, and a RESHAPE to sizes that SHAPE told has 1 for each of them.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from tflite_ptq.model.editing import Editable
from tflite_ptq.model.tap import watching


def learn_shapes(model: Editable, inputs: Sequence[NDArray[np.generic]]) -> None:
    """Runs the model once where it leaves shapes open, and tells it those that it found.

    ``inputs`` in the order of the model's, in their shapes and dtypes. Raises ``MeasurementError`` as ``Tap`` does.
    """
    if not model.leaves_shapes_open():
        return
    computed = list(dict.fromkeys(tensor for node in model.nodes() for tensor in node.outputs))
    tap = watching(model, computed)
    tap.run(inputs)
    model.learn_shapes({tensor: tap.view(place).shape for place, tensor in enumerate(computed)})
