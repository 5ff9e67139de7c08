"""The runtime child's calibration and correction jobs."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from tflite_ptq import atomic
from tflite_ptq.data.finding import Finding
from tflite_ptq.data.index import SampleRef
from tflite_ptq.data.reader import Reader, stream
from tflite_ptq.errors import MeasurementError
from tflite_ptq.measure.environment import cores
from tflite_ptq.model.editing import Editable
from tflite_ptq.model.flatbuffer import describe
from tflite_ptq.quantize.calibration.assign import needs_histograms, ranges_of
from tflite_ptq.quantize.calibration.clipping import clipped_on
from tflite_ptq.quantize.calibration.collect import collect
from tflite_ptq.quantize.calibration.health import Concatenation, extreme, ill_matched, observed, outliers, saturated
from tflite_ptq.quantize.calibration.settling import Checkpoint, settling, settling_finding
from tflite_ptq.quantize.calibration.statistics import Gather, TensorStatistics
from tflite_ptq.quantize.correction import decide
from tflite_ptq.quantize.correction.decide import MOST_SAMPLES
from tflite_ptq.quantize.correction.samples import Sample
from tflite_ptq.recipe.dataset import Calibration, Dataset
from tflite_ptq.result import Correction, LayerCorrection, SkippedSample, TensorInfo
from tflite_ptq.worker.child import ReportProgress
from tflite_ptq.worker.chosen import chosen_samples
from tflite_ptq.worker.examining import MOST_EXAMINED
from tflite_ptq.worker.messages import Calibrate, Calibrated, Correct, Corrected, Prepare


def calibrate(request: Calibrate, progress: ReportProgress) -> Calibrated:
    """Writes the float file with the ranges of its activations, or says why this engine cannot."""
    started = time.monotonic()
    settings = request.dataset.calibration
    assert settings is not None
    path = Path(request.model)
    model = Editable(path.read_bytes())
    unserved = model.why_not_editable()
    if unserved is not None:
        return Calibrated(unserved=unserved)
    names = [info.name for info in describe(path).inputs]
    skipped: dict[str, str] = {}

    def note(ref: SampleRef, reason: str) -> None:
        skipped[ref.name] = reason

    refs = chosen_samples(request.dataset).calibration
    statistics, checkpoints = gathered(model, names, request, refs, settings, note, progress)
    seconds = time.monotonic() - started
    ranges, faults = ranges_of({model.name(tensor): one for tensor, one in statistics.items()}, settings)
    found = {tensor: ranges[model.name(tensor)] for tensor in statistics}
    limits = {tensor: (one.min, one.max) for tensor, one in found.items()}
    evaluation = chosen_samples(request.dataset).evaluation[:MOST_EXAMINED]
    reader = Reader(request.dataset, request.inputs)
    others = (
        [sample[name] for name in names] for _, sample in stream(reader, evaluation, "skip", lambda ref, reason: None)
    )
    settled = settling(checkpoints)
    findings = (
        *((settling_finding(settled),) if settled is not None else ()),
        *(saturated(clipped_on(model, limits, others)) if evaluation else ()),
        *ill_matched(concatenations(model, limits)),
        *_outliers({model.name(tensor): one for tensor, one in statistics.items()}),
    )
    model.set_ranges(limits)
    atomic.write(Path(request.target), model.to_bytes())
    return Calibrated(
        skipped=tuple(SkippedSample(sample=name, reason=reason) for name, reason in sorted(skipped.items())),
        findings=(*faults, *(str(finding) for finding in findings)),
        calibration_s=seconds,
    )


def gathered(
    model: Editable,
    names: Sequence[str],
    request: Calibrate | Prepare,
    refs: Sequence[SampleRef],
    settings: Calibration,
    note: Callable[[SampleRef, str], None],
    progress: ReportProgress,
) -> tuple[dict[int, TensorStatistics], tuple[Checkpoint, ...]]:
    """What the methods in ``settings`` need to know of the activations; ``note`` is told of samples skipped."""
    reader, on_bad = Reader(request.dataset, request.inputs), request.dataset.on_bad_sample
    return collect(
        model,
        names,
        refs,
        lambda part: (sample for _, sample in stream(reader, part, on_bad, note)),
        Gather(histograms=needs_histograms(settings)),
        cores(),
        progress,
    )


def concatenations(model: Editable, ranges: Mapping[int, tuple[float, float]]) -> Iterator[Concatenation]:
    """The concatenations of a model with the ranges of what they join."""
    for node in model.nodes():
        if node.name == "CONCATENATION" and node.outputs[0] in ranges:
            inputs = {model.name(i): ranges[i] for i in node.inputs if i in ranges}
            yield Concatenation(
                model.name(node.outputs[0]),
                inputs,
                ranges[node.outputs[0]],
            )


def _outliers(statistics: Mapping[str, TensorStatistics]) -> tuple[Finding, ...]:
    """Only where a method asked for histograms."""
    seen = {
        name: observed(one.histogram, one.min, one.max)
        for name, one in statistics.items()
        if one.histogram is not None and one.min is not None and one.max is not None
    }
    return extreme(outliers(seen))


def correction_samples(dataset: Dataset, inputs: tuple[TensorInfo, ...], most: int) -> list[Sample]:
    """At most so many calibration samples, spread over all of them, in memory."""
    refs = chosen_samples(dataset).calibration
    return [
        s
        for _, s in stream(Reader(dataset, inputs), spread(refs, most), dataset.on_bad_sample, lambda ref, reason: None)
    ]


def spread(refs: Sequence[SampleRef], most: int) -> Sequence[SampleRef]:
    """At most so many of them, evenly spread."""
    return refs[:: max(1, len(refs) // most)][:most]


def correct(request: Correct) -> Corrected:
    """Replaces the quantized file by a corrected one where that brings its outputs closer to the float model's."""
    reference_path, path = Path(request.reference), Path(request.model)
    reference = Editable(reference_path.read_bytes())
    unserved = reference.why_not_editable()
    if unserved is not None:
        return Corrected(unserved=unserved)
    samples = correction_samples(request.dataset, request.inputs, MOST_SAMPLES)
    names = [info.name for info in describe(reference_path).inputs]
    quantized = path.read_bytes()
    try:
        found = decide.correct(reference, quantized, names, samples, request.methods)
    except MeasurementError as error:  # the audit, which runs the file as it is, judges whether it is of use
        return Corrected(unserved=str(error))
    if found.data != quantized:
        atomic.write(path, found.data)
    return Corrected(
        closeness_db=found.closeness_db,
        correction=Correction(
            method=found.method,
            sqnr_before_db=found.sqnr_before_db,
            sqnr_after_db=found.sqnr_after_db,
            held_back_samples=found.held_back,
            held_back=found.held_back < len(samples),
            layers=tuple(
                LayerCorrection(layer=one.layer, op=one.kind, status=one.status, reason=one.reason)
                for one in found.decisions
            ),
        ),
    )
