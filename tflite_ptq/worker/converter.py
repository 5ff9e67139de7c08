"""The converter child: imports TensorFlow once, exports the source once, builds the variants one after another."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated

from pydantic import Field, TypeAdapter

from tflite_ptq import atomic
from tflite_ptq.data.index import SampleRef
from tflite_ptq.data.reader import Reader, stream
from tflite_ptq.errors import ConversionError
from tflite_ptq.model.editing import Editable
from tflite_ptq.model.flatbuffer import describe
from tflite_ptq.model.source import export
from tflite_ptq.quantize.audit import audit, ill_scaled
from tflite_ptq.quantize.convert import Representative, Sample, convert, no_integer_kernel
from tflite_ptq.quantize.exclude import excluded_outputs
from tflite_ptq.quantize.integer import quantize, with_integer_kernels
from tflite_ptq.quantize.stock_ranges import stock_ranges
from tflite_ptq.recipe.dataset import Dataset
from tflite_ptq.recipe.schema import Variant
from tflite_ptq.result import SkippedSample, TensorInfo
from tflite_ptq.worker.calibration_messages import Settle, Settled
from tflite_ptq.worker.child import ReportProgress, serve
from tflite_ptq.worker.chosen import chosen_samples
from tflite_ptq.worker.debug_messages import QuantizeParts
from tflite_ptq.worker.messages import Convert, Converted, ConverterJob, Opened, OpenSource, Quantize

_SEVERAL_OUTPUTS = frozenset({"SPLIT", "SPLIT_V", "UNPACK"})
_ATTEMPTS = 5
"""The converter leaves an operator with several outputs in float at random: about one time in four around a GRU's
SPLIT (TensorFlow 2.21), with the same model and samples. What it makes otherwise is the same each time."""


def main() -> None:
    """Entry of the child process."""
    requests: TypeAdapter[ConverterJob] = TypeAdapter(Annotated[ConverterJob, Field(discriminator="job")])
    serve(requests, _handle)


def _handle(request: ConverterJob, progress: ReportProgress) -> Opened | Converted | Settled:
    match request:
        case OpenSource():
            return _open(request)
        case Convert():
            return _convert(request, progress)
        case Quantize():
            return _quantize(request)
        case QuantizeParts():
            calibrated, _ = with_integer_kernels(Editable(Path(request.calibrated).read_bytes()), request.variant)
            atomic.write(Path(request.target), quantize(calibrated, request.variant, request.excluded))
            return Converted()
        case Settle():
            return _settle(request)


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
    if variant is not None and request.yardstick is not None:
        _refuse_control_flow(Path(request.yardstick), variant)
    with atomic.staged(Path(request.target)) as part:
        for _ in range(_ATTEMPTS):
            part.write_bytes(convert(Path(request.saved_model), variant, representative))
            left = _left_in_float(part, variant) if variant is not None else ()
            if not _by_chance(left):
                break
        if variant is not None:
            _refuse_float(variant, left)
            _refuse_ill_scaled(part, variant)
    if calibration is None:
        return Converted()
    return Converted(skipped=tuple(calibration.skipped), calibration_s=calibration.seconds)


def _quantize(request: Quantize) -> Converted:
    variant = request.variant
    model = Editable(Path(request.calibrated).read_bytes())
    excluded = excluded_outputs(model, variant.exclude, variant.name)
    calibrated, substituted = with_integer_kernels(model, variant)
    with atomic.staged(Path(request.target)) as part:
        for _ in range(_ATTEMPTS):
            part.write_bytes(quantize(calibrated, variant, excluded))
            left = _left_in_float(part, variant)
            if not _by_chance(left):
                break
        _refuse_float(variant, left)
        _refuse_ill_scaled(part, variant)
    return Converted(substituted=substituted)


def _settle(request: Settle) -> Settled:
    started = time.monotonic()
    model, target, names = Path(request.model), Path(request.calibrated), set(request.samples)
    inputs = [info.name for info in describe(model).inputs]
    refs = [ref for ref in chosen_samples(request.dataset).calibration if ref.name in names]
    reader = Reader(request.dataset, request.inputs)
    samples = stream(reader, refs, request.dataset.on_bad_sample, lambda ref, reason: None, part=True)
    try:
        limits = stock_ranges(model.read_bytes(), ([sample[name] for name in inputs] for _, sample in samples))
    except ConversionError as error:
        return Settled(seconds=time.monotonic() - started, kept=str(error))
    atomic.write(target, Editable(target.read_bytes()).with_ranges(limits))
    return Settled(seconds=time.monotonic() - started)


def _refuse_float(variant: Variant, left: tuple[str, ...]) -> None:
    """The converter leaves operators without an integer kernel in float without a word, even when told not to."""
    if left and not variant.float_fallback and not variant.exclude:
        raise ConversionError(f"{variant.name}: {no_integer_kernel(list(left))}")


def _refuse_ill_scaled(file: Path, variant: Variant) -> None:
    """TensorFlow 2.21 makes such files for int16 activations."""
    wrong = ill_scaled(describe(file)) if variant.needs_calibration else ()
    if wrong:
        raise ConversionError(
            f"{variant.name}: TFLiteConverter gives the operands of {', '.join(wrong)} other scales than the output in "
            f"{variant.scheme}, which makes its values wrong; use another scheme, or replace the layer"
        )


def _refuse_control_flow(yardstick: Path, variant: Variant) -> None:
    """The converter quantizes what is inside of a loop or branch, never the operator itself, and may crash at it: at a
    loop also where it may leave operators in float."""
    if not variant.needs_calibration:
        return
    refused = {"WHILE"} if variant.float_fallback else {"WHILE", "IF"}
    found = sorted({count.name for count in describe(yardstick).operator_counts} & refused)
    if found:
        raise ConversionError(
            f"{variant.name}: TensorFlow Lite has no integer kernel for loops and branches ({', '.join(found)}); build "
            "recurrent layers (LSTM, GRU, RNN) with unroll=True, or use scheme dynamic or float16"
        )


def _left_in_float(file: Path, variant: Variant) -> tuple[str, ...]:
    """What an integer variant computes in float, as ``OP (tensor)``."""
    found = audit(describe(file)).float_ops if variant.needs_calibration else ()
    # QUANTIZE and DEQUANTIZE only stand around the operators that are in the way.
    return tuple(op for op in found if not op.startswith(("QUANTIZE", "DEQUANTIZE"))) or found


def _by_chance(float_operators: tuple[str, ...]) -> bool:
    return bool(float_operators) and all(op.partition(" ")[0] in _SEVERAL_OUTPUTS for op in float_operators)


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
