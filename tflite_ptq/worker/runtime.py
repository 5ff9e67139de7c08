"""The runtime child: numpy, Pillow and LiteRT, no TensorFlow. Scans, reads, audits and evaluates.

What every run asks first is answered before the imports of the rest: a run whose results come from the cache asks for
nothing else.
"""

from __future__ import annotations

import importlib
import threading
from pathlib import Path
from typing import Annotated

from pydantic import Field, TypeAdapter

from tflite_ptq.model.signature import kind, read_inputs, refuse_other_signature
from tflite_ptq.result import Frozen
from tflite_ptq.worker.child import ReportProgress, serve
from tflite_ptq.worker.chosen import chosen_samples, counted
from tflite_ptq.worker.hashing import sample_hashes
from tflite_ptq.worker.messages import Describe, Described, RuntimeJob, Scan, Scanned

LATER = ("tflite_ptq.worker.jobs", "tflite_ptq.worker.evaluating", "sklearn.metrics")
"""Loaded aside a while after the scan, so that a run has them before its first model is there."""
LATER_S = 1.0
"""Seconds after the scan by which a run whose results all come from the cache is over, or nearly."""


def main() -> None:
    """Entry of the child process."""
    requests: TypeAdapter[RuntimeJob] = TypeAdapter(Annotated[RuntimeJob, Field(discriminator="job")])
    serve(requests, _handle)


def _handle(request: RuntimeJob, progress: ReportProgress) -> Frozen:
    match request:
        case Scan():
            return _scan(request)
        case Describe():
            return _describe(request)
        case _:
            from tflite_ptq.worker.jobs import work

            return work(request, progress)


def _scan(request: Scan) -> Scanned:
    chosen = chosen_samples(request.dataset)
    scanned = counted(chosen)
    if not request.hashes:
        return scanned
    memory = Path(request.memory) if request.memory is not None else None
    hashes = sample_hashes(chosen, memory)
    loading = threading.Timer(LATER_S, lambda: [*map(importlib.import_module, LATER)])
    loading.daemon = True
    loading.start()
    return scanned.model_copy(update={"hashes": hashes})


def _describe(request: Describe) -> Described:
    model = request.model
    path = Path(model.path)
    form = kind(path)
    if form != "tflite":
        return Described(kind=form, inputs=read_inputs(path, model.signature, trust=model.trust))
    from tflite_ptq.model.flatbuffer import describe
    from tflite_ptq.quantize.audit import quantized_parts

    description = describe(path)
    refuse_other_signature(description, model.signature)
    return Described(
        kind=form,
        inputs=description.inputs,
        outputs=description.outputs,
        quantized=quantized_parts(description),
    )
