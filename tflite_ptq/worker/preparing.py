"""The runtime child's other ways to make a variant: other ranges, weights equalized, clipped and rounded."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from tflite_ptq import atomic
from tflite_ptq.model.editing import Editable
from tflite_ptq.model.flatbuffer import describe
from tflite_ptq.quantize.calibration.assign import needs_histograms
from tflite_ptq.quantize.correction.decide import MOST_SAMPLES
from tflite_ptq.quantize.correction.samples import as_inputs
from tflite_ptq.quantize.correction.yardstick import folds_of
from tflite_ptq.quantize.exclude import excluded_outputs
from tflite_ptq.quantize.weights.apply import LayerChange, prepare_weights
from tflite_ptq.quantize.weights.equalization import Equalization, equalize
from tflite_ptq.result import LayerCorrection
from tflite_ptq.worker.calibrating import gathered, limits_by, saturating
from tflite_ptq.worker.calibration_messages import Prepare, Prepared
from tflite_ptq.worker.child import ReportProgress
from tflite_ptq.worker.chosen import chosen_samples, spread
from tflite_ptq.worker.correcting import correction_samples

Limits = Mapping[int, tuple[float, float]]

_MOST_FOR_TRIAL = 128
"""On the five MLPerf Tiny models a histogram of more samples moved no range of least error, and each costs time."""


def prepare(request: Prepare, progress: ReportProgress) -> Prepared:
    """Writes the float models to quantize, and the float model to correct them against."""
    path, weights = Path(request.model), request.weights
    names = [info.name for info in describe(path).inputs]
    model = Editable(path.read_bytes())
    layers: list[LayerCorrection] = []
    pairs = 0
    if weights.equalize:
        equalized = equalize(model)
        pairs = len(equalized.pairs)
        layers += _balanced(model, equalized)
    atomic.write(Path(request.reference), model.to_bytes() if pairs else path.read_bytes())
    if request.ranged is None or pairs:
        ranges = _ranges(model, names, request, progress)
    else:
        ranges = [_limits(Path(request.ranged))]
    if not weights.plain:
        layers += map(_changed, _weights(model, names, request))
    told: list[str] = []
    for limits, target in zip(ranges, request.targets, strict=True):
        if weights.plain:
            told.append("".join(map(str, saturating(model, names, request, limits, narrowed=True))))
        atomic.write(Path(target), model.with_ranges(limits))
    return Prepared(layers=tuple(layers), saturation=tuple(told), pairs=pairs)


def _ranges(model: Editable, names: Sequence[str], request: Prepare, progress: ReportProgress) -> list[Limits]:
    """Those by each of the methods, of the model as it is."""
    settings = request.dataset.calibration
    assert settings is not None
    refs = chosen_samples(request.dataset).calibration
    # Of a tensor with a method of its own the recipe's range is asked for, which all samples decide.
    if any(method is not None for method in request.methods) and not settings.overrides:
        refs = tuple(spread(refs, _MOST_FOR_TRIAL))
    asked = [settings if m is None else settings.model_copy(update={"method": m}) for m in request.methods]
    histograms = any(map(needs_histograms, asked))
    statistics, _ = gathered(model, names, request, refs, histograms, lambda ref, reason: None, progress)
    return [limits_by(one, model, statistics)[0] for one in asked]


def _limits(ranged: Path) -> Limits:
    model = Editable(ranged.read_bytes())
    return {tensor: limits for tensor in model.activations() if (limits := model.limits(tensor)) is not None}


def _balanced(model: Editable, done: Equalization) -> Iterator[LayerCorrection]:
    kinds = {model.name(output): node.name for node in model.nodes() for output in node.outputs}
    for pair in done.pairs:
        by = f"{pair.smallest_scale:.3g} to {pair.largest_scale:.3g}"
        second = pair.second.split(";")[0]  # names that TFLite joined are longer than a line
        reason = f"balanced with {second}: channels divided here and multiplied there by {by}"
        yield LayerCorrection(layer=pair.first, op=kinds[pair.first], status="kept", reason=reason)
    for left in done.left_alone:
        yield LayerCorrection(layer=left.name, op=left.kind, status="skipped", reason=f"not balanced: {left.reason}")


def _changed(change: LayerChange) -> LayerCorrection:
    if change.rounding is None:
        return LayerCorrection(layer=change.name, op=change.kind, status="skipped", reason=change.reason or "")
    reason = f"{change.rounding} rounding, range {change.weight_range}"
    if change.gain_db is not None:
        reason += f": the error of its output falls by {change.gain_db:.1f} dB"
    if change.reason is not None:
        reason += f"; {change.reason}"
    return LayerCorrection(layer=change.name, op=change.kind, status="kept", reason=reason)


def _weights(model: Editable, names: Sequence[str], request: Prepare) -> tuple[LayerChange, ...]:
    """Puts the weights of ``model`` on the variant's grid."""
    variant, weights = request.variant, request.weights
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
