"""The runtime child's calibration job."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from tflite_ptq import atomic
from tflite_ptq.data.finding import Finding
from tflite_ptq.data.index import SampleRef
from tflite_ptq.data.reader import Reader, stream
from tflite_ptq.measure.environment import cores
from tflite_ptq.model.editing import Editable
from tflite_ptq.model.flatbuffer import describe
from tflite_ptq.quantize.calibration.assign import needs_histograms, ranges_of
from tflite_ptq.quantize.calibration.clipping import clipped_on
from tflite_ptq.quantize.calibration.collect import collect
from tflite_ptq.quantize.calibration.health import (
    Concatenation,
    Observed,
    extreme,
    ill_matched,
    observed,
    outliers,
    saturated,
)
from tflite_ptq.quantize.calibration.settling import Growth, settling, settling_finding
from tflite_ptq.quantize.calibration.statistics import Gather, TensorStatistics
from tflite_ptq.recipe.dataset import Calibration
from tflite_ptq.result import SkippedSample
from tflite_ptq.worker.calibration_messages import MOST_EXAMINED, Calibrate, Calibrated, Prepare
from tflite_ptq.worker.child import ReportProgress
from tflite_ptq.worker.chosen import chosen_samples, spread

_MOST_FOR_OUTLIERS = 32
"""Samples that say where nearly all values of an activation lie; how far the others reach, all samples say."""


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
    refused: list[str] = []
    histograms = needs_histograms(settings)
    statistics, growth = gathered(model, names, request, refs, histograms, note, progress, refused.append)
    seconds = time.monotonic() - started
    limits, faults = limits_by(settings, model, statistics)
    settled = settling(growth)
    seen = statistics
    if not histograms:
        some = spread(refs, _MOST_FOR_OUTLIERS)
        seen, _ = gathered(model, names, request, some, True, lambda ref, reason: None, lambda done, total: None)
    findings = (
        *((settling_finding(settled),) if settled is not None else ()),
        *saturating(model, names, request, limits, narrowed=histograms),
        *ill_matched(concatenations(model, limits)),
        *extreme(outliers(_observed(model, statistics, seen))),
    )
    atomic.write(Path(request.target), model.with_ranges(limits))
    return Calibrated(
        skipped=tuple(SkippedSample(sample=name, reason=reason) for name, reason in sorted(skipped.items())),
        findings=(*faults, *(str(finding) for finding in findings)),
        calibration_s=seconds,
        decisive=_decisive([ref for ref in refs if ref.name not in skipped], statistics)
        if settings.as_converter
        else (),
        refused=refused[0] if refused else None,
    )


def limits_by(
    settings: Calibration, model: Editable, statistics: Mapping[int, TensorStatistics]
) -> tuple[dict[int, tuple[float, float]], tuple[str, ...]]:
    """The range of each tensor by the settings' methods, and findings on those that are not what they should be."""
    ranges, faults = ranges_of({model.name(tensor): one for tensor, one in statistics.items()}, settings)
    found = {tensor: ranges[model.name(tensor)] for tensor in statistics}
    return {tensor: (one.min, one.max) for tensor, one in found.items()}, faults


def saturating(
    model: Editable,
    names: Sequence[str],
    request: Calibrate | Prepare,
    limits: Mapping[int, tuple[float, float]],
    *,
    narrowed: bool,
) -> tuple[Finding, ...]:
    """What evaluation samples leave of the ranges; ``narrowed`` as ``saturated`` takes it."""
    evaluation = spread(chosen_samples(request.dataset).evaluation, MOST_EXAMINED)
    if not evaluation:
        return ()
    reader = Reader(request.dataset, request.inputs)
    samples = stream(reader, evaluation, "skip", lambda ref, reason: None)
    found = clipped_on(model, limits, ([sample[name] for name in names] for _, sample in samples))
    return saturated(found, narrowed=narrowed)


def _decisive(taken: Sequence[SampleRef], statistics: Mapping[int, TensorStatistics]) -> tuple[str, ...]:
    """Names of the samples, in order, that brought a minimum or a maximum; ``taken`` are all that were seen."""
    places = {place for one in statistics.values() if one.values for place in (one.min_at, one.max_at)}
    return tuple(taken[place].name for place in sorted(places))


def gathered(
    model: Editable,
    names: Sequence[str],
    request: Calibrate | Prepare,
    refs: Sequence[SampleRef],
    histograms: bool,
    note: Callable[[SampleRef, str], None],
    progress: ReportProgress,
    refused: Callable[[str], None] = lambda reason: None,
) -> tuple[dict[int, TensorStatistics], Growth]:
    """The limits of the activations, and their ``histograms``; ``note`` is told of samples skipped, ``refused`` what
    ``collect`` tells it."""
    reader, on_bad = Reader(request.dataset, request.inputs), request.dataset.on_bad_sample
    return collect(
        model,
        names,
        refs,
        lambda part: (sample for _, sample in stream(reader, part, on_bad, note, part=True)),
        Gather(histograms=histograms),
        cores(),
        progress,
        refused,
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


def _observed(
    model: Editable, limits: Mapping[int, TensorStatistics], histograms: Mapping[int, TensorStatistics]
) -> dict[str, Observed]:
    """By tensor name the limits of all samples, with the histogram of all or of some."""
    return {
        model.name(tensor): observed(histogram, one.min, one.max)
        for tensor, one in limits.items()
        if (histogram := histograms[tensor].histogram) is not None and one.min is not None and one.max is not None
    }
