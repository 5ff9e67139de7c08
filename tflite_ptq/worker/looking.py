"""The runtime child's first looks: at a sample of each subset for ``check``, at a few files for ``init``."""

from __future__ import annotations

from pathlib import Path

from tflite_ptq.data.bad_sample import BadSample
from tflite_ptq.data.decode import image_size
from tflite_ptq.data.masks import pixels_of
from tflite_ptq.data.reader import Reader
from tflite_ptq.data.stored import npy_header
from tflite_ptq.data.targets import Mask
from tflite_ptq.model.editing import Editable
from tflite_ptq.model.signature import has_scaling_layer, kind
from tflite_ptq.quantize.calibration.input_scale import rescales_input
from tflite_ptq.worker.chosen import chosen_samples, counted
from tflite_ptq.worker.init_messages import LookAt, LookedAt
from tflite_ptq.worker.messages import FirstSample, Scanned


def first_sample(request: FirstSample) -> Scanned:
    """What was counted, once the first sample of each subset was read. Raises ``DataError`` where it cannot be."""
    chosen = chosen_samples(request.dataset)
    if request.inputs is not None:
        reader = Reader(request.dataset, request.inputs)
        for subset in (chosen.calibration, chosen.evaluation):
            if subset:
                reader.read(subset[0])
                target = subset[0].target
                if isinstance(target, Mask):
                    pixels_of(target, subset[0].file)
    return counted(chosen)


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
