"""The converter child: imports TensorFlow once, exports the source once, builds the variants one after another."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from tflite_ptq import atomic
from tflite_ptq.data.index import SampleRef
from tflite_ptq.data.reader import Reader, stream
from tflite_ptq.errors import ConversionError
from tflite_ptq.model.flatbuffer import describe
from tflite_ptq.model.source import export
from tflite_ptq.quantize.audit import audit
from tflite_ptq.quantize.convert import Representative, Sample, convert, no_integer_kernel
from tflite_ptq.recipe.dataset import Dataset
from tflite_ptq.recipe.schema import Variant
from tflite_ptq.result import SkippedSample, TensorInfo
from tflite_ptq.worker.child import ReportProgress, serve
from tflite_ptq.worker.chosen import chosen_samples
from tflite_ptq.worker.messages import Convert, Converted, ConverterRequest, Opened, OpenSource


def main() -> None:
    """Entry of the child process."""
    serve(ConverterRequest, _handle)


def _handle(request: OpenSource | Convert, progress: ReportProgress) -> Opened | Converted:
    if isinstance(request, OpenSource):
        return _open(request)
    return _convert(request, progress)


def _open(request: OpenSource) -> Opened:
    folder = Path(request.folder)
    shutil.rmtree(folder, ignore_errors=True)
    exported = export(request.model, folder)
    return Opened(inputs=exported.inputs, outputs=exported.outputs)


def _convert(request: Convert, progress: ReportProgress) -> Converted:
    calibration: _CalibrationStream | None = None
    variant = request.variant
    if variant is not None and variant.needs_calibration and request.dataset is not None:
        calibration = _CalibrationStream(request.dataset, request.inputs, progress)
    representative: Representative | None = calibration
    data = convert(Path(request.saved_model), variant, representative)
    with atomic.staged(Path(request.target)) as part:
        part.write_bytes(data)
        if variant is not None:
            _refuse_float_operators(part, variant)
    if calibration is None:
        return Converted()
    return Converted(skipped=tuple(calibration.skipped), calibration_s=calibration.seconds)


def _refuse_float_operators(file: Path, variant: Variant) -> None:
    """The converter leaves some operators without an integer kernel in float without a word, even when told not to."""
    if not variant.needs_calibration or variant.float_fallback:
        return
    found = audit(describe(file)).float_ops
    if found:
        raise ConversionError(f"{variant.name}: {no_integer_kernel(list(found))}")


class _CalibrationStream:
    """The representative dataset: streams the calibration samples, one in memory at a time."""

    def __init__(self, dataset: Dataset, inputs: tuple[TensorInfo, ...], progress: ReportProgress) -> None:
        self.skipped: list[SkippedSample] = []
        self.seconds = 0.0
        self._dataset = dataset
        self._refs = chosen_samples(dataset).calibration
        self._reader = Reader(dataset, inputs)
        self._progress = progress

    def __call__(self) -> Iterator[Sample]:
        self.skipped.clear()
        start = time.monotonic()
        note: Callable[[SampleRef, str], None] = lambda ref, reason: self.skipped.append(  # noqa: E731
            SkippedSample(sample=ref.name, reason=reason)
        )
        samples = stream(self._reader, self._refs, self._dataset.on_bad_sample, note)
        for done, (_, sample) in enumerate(samples, start=1):
            yield sample
            self._progress(done, len(self._refs))
        self.seconds = time.monotonic() - start
