"""The runtime child's other ways to make a variant: other ranges, weights equalized, clipped and rounded."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from tflite_ptq import atomic
from tflite_ptq.model.editing import Editable
from tflite_ptq.model.flatbuffer import describe
from tflite_ptq.quantize.calibration.assign import needs_histograms, ranges_of
from tflite_ptq.quantize.correction.decide import MOST_SAMPLES
from tflite_ptq.quantize.correction.samples import as_inputs
from tflite_ptq.quantize.correction.yardstick import folds_of
from tflite_ptq.quantize.exclude import excluded_outputs
from tflite_ptq.quantize.weights.apply import LayerChange, prepare_weights
from tflite_ptq.quantize.weights.equalization import Equalization, equalize
from tflite_ptq.result import LayerCorrection
from tflite_ptq.worker.calibrating import gathered, saturating
from tflite_ptq.worker.calibration_messages import Prepare, Prepared
from tflite_ptq.worker.child import ReportProgress
from tflite_ptq.worker.chosen import chosen_samples, spread
from tflite_ptq.worker.correcting import correction_samples

_MOST_FOR_TRIAL = 128
"""On the five MLPerf Tiny models a histogram of more samples moved no range of least error, and each costs time."""


def prepare(request: Prepare, progress: ReportProgress) -> Prepared:
    """Writes the float models to quantize, and the float model to correct them against."""
    settings = request.dataset.calibration
    assert settings is not None
    path, weights = Path(request.model), request.variant.weighting
    names = [info.name for info in describe(path).inputs]
    model = Editable(path.read_bytes())
    said: list[str] = []
    layers: list[LayerCorrection] = []
    if weights.equalize:
        equalized = equalize(model)
        said.append(f"{len(equalized.pairs)} pairs of layers equalized")
        layers += _balanced(model, equalized)
    atomic.write(Path(request.reference), model.to_bytes() if weights.equalize else path.read_bytes())
    refs = chosen_samples(request.dataset).calibration
    # Of a tensor with a method of its own the recipe's range is asked for, which all samples decide.
    if any(method is not None for method in request.methods) and not settings.overrides:
        refs = tuple(spread(refs, _MOST_FOR_TRIAL))
    asked = [settings if m is None else settings.model_copy(update={"method": m}) for m in request.methods]
    histograms = any(map(needs_histograms, asked))
    statistics, _ = gathered(model, names, request, refs, histograms, lambda ref, reason: None, progress)
    if not weights.plain:
        changes = _weights(model, names, request)
        done = Counter(
            f"{c.rounding} rounding, range {c.weight_range}" if c.rounding else "left alone" for c in changes
        )
        said += [f"{count} layers: {what}" for what, count in sorted(done.items())]
        layers += map(_changed, changes)
    by_name = {model.name(tensor): one for tensor, one in statistics.items()}
    told: list[str] = []
    for one, target in zip(asked, request.targets, strict=True):
        ranges, _ = ranges_of(by_name, one)
        limits = {t: (ranges[model.name(t)].min, ranges[model.name(t)].max) for t in statistics}
        if weights.plain:
            told.append("".join(map(str, saturating(model, names, request, limits, narrowed=True))))
        atomic.write(Path(target), model.with_ranges(limits))
    return Prepared(summary="; ".join(said), layers=tuple(layers), saturation=tuple(told))


def _balanced(model: Editable, done: Equalization) -> Iterator[LayerCorrection]:
    kinds = {model.name(output): node.name for node in model.nodes() for output in node.outputs}
    for pair in done.pairs:
        by = f"{pair.smallest_scale:.3g} to {pair.largest_scale:.3g}"
        second = pair.second.split(";")[0]  # names that TFLite joined are longer than a line
        reason = f"balanced with {second}: channels divided here and multiplied there by {by}"
        yield LayerCorrection(layer=pair.first, op=kinds[pair.first], status="kept", reason=reason)
    for left in done.left_alone:
        yield LayerCorrection(layer=left.name, op=left.kind, status="skipped", reason=f"not balanced: {left.reason}")


def _what(change: LayerChange) -> str:
    return "left alone" if change.rounding is None else f"{change.rounding} rounding, range {change.weight_range}"


def _changed(change: LayerChange) -> LayerCorrection:
    if change.rounding is None:
        return LayerCorrection(layer=change.name, op=change.kind, status="skipped", reason=change.reason or "")
    reason = _what(change)
    if change.gain_db is not None:
        reason += f": the error of its output falls by {change.gain_db:.1f} dB"
    if change.reason is not None:
        reason += f"; {change.reason}"
    return LayerCorrection(layer=change.name, op=change.kind, status="kept", reason=reason)


def _weights(model: Editable, names: Sequence[str], request: Prepare) -> tuple[LayerChange, ...]:
    """Puts the weights of ``model`` on the variant's grid."""
    variant, weights = request.variant, request.variant.weighting
    samples = correction_samples(request.dataset, request.inputs, MOST_SAMPLES)
    fitted = folds_of(samples, in_turn=False)[0].fitted
    return prepare_weights(
        model,
        as_inputs(model, names, fitted) if weights.rounding == "compensated" else (),
        rounding=weights.rounding,
        weight_range=weights.range,
        per_channel=variant.per_channel,
        per_channel_dense=variant.per_channel_dense,
        # Where a bias correction is refused, a mean error left to it would stay.
        bias_corrected=False,
        float_layers=excluded_outputs(model, variant.exclude, variant.name),
    )
