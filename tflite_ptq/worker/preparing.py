"""The runtime child's preparation of weights: equalization, ranges and rounding, with a calibration of the result."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from tflite_ptq import atomic
from tflite_ptq.data.reader import Reader, stream
from tflite_ptq.measure.environment import cores
from tflite_ptq.model.editing import Editable
from tflite_ptq.model.flatbuffer import describe
from tflite_ptq.quantize.calibration.assign import needs_histograms, ranges_of
from tflite_ptq.quantize.calibration.collect import collect
from tflite_ptq.quantize.calibration.statistics import Gather
from tflite_ptq.quantize.correction.decide import MOST_SAMPLES, hold_back
from tflite_ptq.quantize.correction.samples import as_inputs
from tflite_ptq.quantize.exclude import excluded_outputs
from tflite_ptq.quantize.weights.apply import prepare_weights
from tflite_ptq.quantize.weights.equalization import equalize
from tflite_ptq.worker.calibrating import correction_samples
from tflite_ptq.worker.child import ReportProgress
from tflite_ptq.worker.chosen import chosen_samples
from tflite_ptq.worker.messages import Prepare, Prepared


def prepare(request: Prepare, progress: ReportProgress) -> Prepared:
    """Writes the float model to quantize, and the float model to correct it against."""
    settings = request.dataset.calibration
    assert settings is not None
    path, weights = Path(request.model), request.variant.weighting
    names = [info.name for info in describe(path).inputs]
    model = Editable(path.read_bytes())
    said = []
    if weights.equalize:
        equalized = equalize(model)
        said.append(f"{len(equalized.pairs)} pairs of layers equalized")
    atomic.write(Path(request.reference), model.to_bytes())
    reader = Reader(request.dataset, request.inputs)
    statistics, _ = collect(
        model,
        names,
        chosen_samples(request.dataset).calibration,
        lambda part: (s for _, s in stream(reader, part, request.dataset.on_bad_sample, lambda ref, reason: None)),
        Gather(histograms=needs_histograms(settings)),
        cores(),
        progress,
    )
    ranges, _ = ranges_of({model.name(tensor): one for tensor, one in statistics.items()}, settings)
    fitted, _ = hold_back(correction_samples(request.dataset, request.inputs, MOST_SAMPLES))
    changes = prepare_weights(
        model,
        as_inputs(model, names, fitted) if weights.rounding == "compensated" else (),
        rounding=weights.rounding,
        weight_range=weights.range,
        per_channel=request.variant.per_channel,
        per_channel_dense=request.variant.per_channel_dense,
        # Where a bias correction is refused, a mean error left to it would stay.
        bias_corrected=False,
        float_layers=excluded_outputs(model, request.variant.exclude, request.variant.name),
    )
    model.set_ranges({t: (ranges[model.name(t)].min, ranges[model.name(t)].max) for t in statistics})
    atomic.write(Path(request.target), model.to_bytes())
    done = Counter(f"{c.rounding} rounding, range {c.weight_range}" if c.rounding else "left alone" for c in changes)
    said += [f"{count} layers: {what}" for what, count in sorted(done.items())]
    return Prepared(summary="; ".join(said))
