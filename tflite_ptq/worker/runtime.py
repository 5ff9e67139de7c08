"""The runtime child: numpy, Pillow and LiteRT, no TensorFlow. Scans, reads, audits and evaluates."""

from __future__ import annotations

import importlib
import threading
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tflite_ptq.data.masks import pixels_of
from tflite_ptq.data.reader import BadSample, Reader
from tflite_ptq.data.split import Split
from tflite_ptq.data.targets import Mask
from tflite_ptq.errors import MeasurementError
from tflite_ptq.model.flatbuffer import describe
from tflite_ptq.model.interpreter import Runner
from tflite_ptq.model.signature import kind, read_inputs
from tflite_ptq.quantize.audit import audit, findings, quantized_parts
from tflite_ptq.recipe.schema import Variant
from tflite_ptq.result import Frozen, TensorInfo
from tflite_ptq.worker.calibrating import calibrate
from tflite_ptq.worker.child import ReportProgress, serve
from tflite_ptq.worker.chosen import chosen_samples
from tflite_ptq.worker.comparing import compare_layers, compare_outputs
from tflite_ptq.worker.correcting import correct
from tflite_ptq.worker.debug_messages import CompareLayers, CompareOutputs
from tflite_ptq.worker.examining import examine
from tflite_ptq.worker.hashing import sample_hashes
from tflite_ptq.worker.init_messages import LookAt
from tflite_ptq.worker.looking import look_at
from tflite_ptq.worker.messages import (
    Audited,
    AuditFile,
    Calibrate,
    Correct,
    Describe,
    Described,
    Evaluate,
    Examine,
    FirstSample,
    Prepare,
    RuntimeJob,
    RuntimeRequest,
    Scan,
    Scanned,
)
from tflite_ptq.worker.preparing import prepare

_EVALUATION = ("tflite_ptq.worker.evaluating", "sklearn.metrics")
"""Half a second of imports (SciPy's statistics), loaded aside once the samples are scanned: a run whose figures come
from the cache does not wait for them, and another has them before its first model is there."""


def main() -> None:
    """Entry of the child process."""
    serve(RuntimeRequest, _handle)


def _handle(request: RuntimeJob, progress: ReportProgress) -> Frozen:
    match request:
        case Scan():
            return _scan(request)
        case FirstSample():
            return _first_sample(request)
        case Describe():
            return _describe(request)
        case Examine():
            return examine(request)
        case Calibrate():
            return calibrate(request, progress)
        case Prepare():
            return prepare(request, progress)
        case Correct():
            return correct(request)
        case AuditFile():
            return _audit(request)
        case Evaluate():
            from tflite_ptq.worker.evaluating import evaluate_models  # see _EVALUATION

            return evaluate_models(request, progress)
        case CompareLayers():
            return compare_layers(request)
        case CompareOutputs():
            return compare_outputs(request)
        case LookAt():
            return look_at(request)


def _scan(request: Scan) -> Scanned:
    chosen = chosen_samples(request.dataset)
    scanned = _scanned(chosen)
    if not request.hashes:
        return scanned
    memory = Path(request.memory) if request.memory is not None else None
    hashes = sample_hashes(chosen, memory)
    threading.Thread(target=lambda: [*map(importlib.import_module, _EVALUATION)], daemon=True).start()
    return scanned.model_copy(update={"hashes": hashes})


def _scanned(chosen: Split) -> Scanned:
    return Scanned(
        calibration_samples=len(chosen.calibration),
        evaluation_samples=len(chosen.evaluation),
        calibration_left_out=chosen.left_out,
        labelled=bool(chosen.evaluation) and chosen.evaluation[0].label is not None,
        classes=chosen.classes,
    )


def _first_sample(request: FirstSample) -> Scanned:
    chosen = chosen_samples(request.dataset)
    if request.inputs is not None:
        reader = Reader(request.dataset, request.inputs)
        for subset in (chosen.calibration, chosen.evaluation):
            if subset:
                reader.read(subset[0])
                target = subset[0].target
                if isinstance(target, Mask):
                    pixels_of(target, subset[0].file)
    return _scanned(chosen)


def _describe(request: Describe) -> Described:
    model = request.model
    path = Path(model.path)
    form = kind(path)
    if form != "tflite":
        return Described(kind=form, inputs=read_inputs(path, model.signature, trust=model.trust))
    description = describe(path)
    return Described(
        kind=form,
        inputs=description.inputs,
        outputs=description.outputs,
        quantized=quantized_parts(description),
    )


def _audit(request: AuditFile) -> Audited:
    path = Path(request.model)
    found = audit(describe(path))
    runner = Runner(path, "xnnpack", 1)
    sample, place = _one_sample(request, runner)
    outputs = runner.run(sample)
    for output, values in outputs.items():
        if not np.isfinite(values).all():
            raise MeasurementError(
                f"{request.name}: output '{output}' holds NaN or infinity on {place}; {_cure(request.variant)}"
            )
    return Audited(audit=found, findings=findings(found, request.variant) if request.variant else ())


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
