"""The runtime child's first looks: at a sample of each subset for ``check``, at a few files for ``init``."""

from __future__ import annotations

from pathlib import Path

from tflite_ptq.data.bad_sample import BadSample
from tflite_ptq.data.decode import image_size
from tflite_ptq.data.masks import pixels_of
from tflite_ptq.data.reader import Reader
from tflite_ptq.data.stored import npy_header, npz_headers
from tflite_ptq.data.targets import Mask
from tflite_ptq.model.editing import Editable
from tflite_ptq.model.keras_config import has_loops, scales_inputs
from tflite_ptq.model.signature import keras_config, kind
from tflite_ptq.quantize.calibration.input_scale import rescales_input
from tflite_ptq.worker.chosen import chosen_samples, counted
from tflite_ptq.worker.init_messages import LookAt, Looked, LookedAt
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
    """Shapes in the files, whether the model holds a Rescaling or Normalization of its own, and whether loops."""
    path = Path(request.model.path)
    files = tuple(_looked(Path(file)) for file in request.files)
    if kind(path) == "tflite":
        model = Editable(path.read_bytes())
        loops = any(node.name == "WHILE" for node in model.nodes())
        return LookedAt(files=files, rescales=rescales_input(model), loops=loops)
    config = keras_config(path)
    if config is None:
        return LookedAt(files=files, rescales=None, loops=False)
    return LookedAt(files=files, rescales=scales_inputs(config) is not False, loops=has_loops(config))


def scales_itself(path: Path) -> bool | None:
    """Whether the model, in any form, brings large inputs to around 1 itself; ``None`` where that is not known."""
    if kind(path) == "tflite":
        return rescales_input(Editable(path.read_bytes()))
    # Without such a layer its first weights may still be made for large numbers.
    return scales_inputs(keras_config(path)) or None


def _looked(file: Path) -> Looked:
    suffix = file.suffix.lower()
    try:
        if suffix == ".npz":
            return Looked(arrays={name: stored.shape for name, stored in npz_headers(file).items()})
        return Looked(arrays={"": npy_header(file).shape if suffix == ".npy" else image_size(file)})
    except BadSample as fault:
        return Looked(fault=str(fault))
