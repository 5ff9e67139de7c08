"""The runtime child's job for ``init``: what a few files of samples look like, and what the model does to them."""

from __future__ import annotations

from pathlib import Path

from tflite_ptq.data.bad_sample import BadSample
from tflite_ptq.data.decode import image_size
from tflite_ptq.data.stored import npy_header
from tflite_ptq.model.editing import Editable
from tflite_ptq.model.signature import has_scaling_layer, kind
from tflite_ptq.quantize.calibration.input_scale import rescales_input
from tflite_ptq.worker.init_messages import LookAt, LookedAt


def look_at(request: LookAt) -> LookedAt:
    """Shapes of the files, and whether the model holds a Rescaling or Normalization of its own."""
    path = Path(request.model.path)
    rescales = rescales_input(Editable(path.read_bytes())) if kind(path) == "tflite" else has_scaling_layer(path)
    return LookedAt(shapes=tuple(_shape(Path(file)) for file in request.files), rescales=rescales)


def _shape(file: Path) -> tuple[int, ...] | None:
    try:
        return npy_header(file).shape if file.suffix.lower() == ".npy" else image_size(file)
    except BadSample:
        return None
