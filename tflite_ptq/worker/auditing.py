"""The runtime child's audit of a file: what it holds, and that it runs on a sample."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tflite_ptq.data.bad_sample import BadSample
from tflite_ptq.data.reader import Reader
from tflite_ptq.errors import MeasurementError
from tflite_ptq.model.flatbuffer import describe
from tflite_ptq.model.interpreter import Runner
from tflite_ptq.quantize.audit import audit, findings, unscaled
from tflite_ptq.recipe.schema import Variant
from tflite_ptq.result import TensorInfo
from tflite_ptq.worker.chosen import chosen_samples
from tflite_ptq.worker.messages import Audited, AuditFile


def audit_file(request: AuditFile) -> Audited:
    """The audit and, for a variant, what it finds. Raises ``MeasurementError`` where an output is not finite."""
    path = Path(request.model)
    description = describe(path)
    found = audit(description)
    runner = Runner(path, "xnnpack", 1)
    sample, place = _one_sample(request, runner)
    outputs = runner.run(sample)
    for output, values in outputs.items():
        if not np.isfinite(values).all():
            raise MeasurementError(
                f"{request.name}: output '{output}' holds NaN or infinity on {place}; {_cure(request.variant)}"
            )
    if request.variant is None:
        return Audited(audit=found, findings=())
    return Audited(audit=found, findings=findings(found, request.variant, unscaled(description)))


def _cure(variant: Variant | None) -> str:
    """What to do about outputs that are not finite; those of float32 are, where there is a variant."""
    if variant is None:
        return "check the model with that input"
    if variant.scheme == "float16":
        return "float16 ends at 65504: look for weights beyond it, or use another scheme"
    if variant.scheme == "int8":
        return "tflite-ptq debug finds the layers whose rounding does it; leave them in float (variants[].exclude)"
    return "float32's is finite there: use another scheme"


def _one_sample(request: AuditFile, runner: Runner) -> tuple[Mapping[str, NDArray[np.generic]], str]:
    """A sample by input name, and what to call it in a message."""
    if request.dataset is not None and request.inputs is not None:
        reader = Reader(request.dataset, request.inputs)
        chosen = chosen_samples(request.dataset)
        for ref in chosen.evaluation or chosen.calibration:
            try:
                sample: Mapping[str, NDArray[np.generic]] = reader.read(ref)
                return sample, ref.place
            except BadSample:
                if request.dataset.on_bad_sample == "stop":
                    raise
    zeros = {info.name: np.zeros([max(1, size) for size in info.shape], _real_dtype(info)) for info in runner.inputs}
    return zeros, "an input of zeros"


def _real_dtype(info: TensorInfo) -> str:
    return "float32" if info.scale is not None else info.dtype
