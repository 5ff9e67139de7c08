"""What to do about what ``debug`` measured: sentences and YAML to paste. Pure; reads only ``debug_result``."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence

from pydantic import JsonValue

from tflite_ptq.debug_result import Advice, Closeness, DebugReport, ExclusionTrial
from tflite_ptq.report import units
from tflite_ptq.result import FIXED_RANGE

WORTH_DB = 1.0
"""A change of the recipe that gains less is within what other samples would show."""
_CLIPPED = 0.001
_CREST = 32.0
"""The largest value over the root mean square: 255 steps to 32 leave the typical value with 8 of them."""
_NAMED = 3
_ENOUGH = 0.5
_PLAIN = frozenset({"scheme", "io", "correction", "name"})


def advise(report: DebugReport) -> tuple[Advice, ...]:
    """Advice on exclusion, calibration method, samples, weights and correction."""
    parts = (_exclusion, _method, _clipping, _outliers, _weights, _correction)
    found = tuple(advice for part in parts for advice in part(report))
    return found or (Advice(text="nothing stands out: no layer, method or range is worth a change"),)


def gain_db(closeness: Closeness | None, whole: Closeness) -> float | None:
    """SQNR in dB over ``whole``'s; positive is better, ``None`` where one of them is not known or infinite."""
    if closeness is None or closeness.sqnr_db is None or whole.sqnr_db is None:
        return None
    return closeness.sqnr_db - whole.sqnr_db


def best_exclusion(trials: Sequence[ExclusionTrial], whole: Closeness) -> ExclusionTrial | None:
    """The smallest set of layers that brings half of the decibels that the best set brings; ``None`` where that one
    brings too little. Each layer more in float costs speed, and the last decibels are the dearest. Where the outputs
    hold NaN or infinity, it is the smallest set that makes them finite."""
    if whole.non_finite:
        finite_sets = [trial for trial in trials if trial.closeness.error is None]
        return min(finite_sets, key=lambda trial: len(trial.exclude), default=None)
    base = _level(whole)
    if base is None or math.isinf(base):
        return None
    gains = [(level - base, trial) for trial in trials if (level := _level(trial.closeness)) is not None]
    finite = [gain for gain, _ in gains if not math.isinf(gain)]
    best = max(finite, default=0.0)
    if best < WORTH_DB:
        # Sets that leave nothing but float are an answer where there is no other.
        exact = [trial for gain, trial in gains if math.isinf(gain)]
        return min(exact, key=lambda trial: len(trial.exclude), default=None)
    enough = [trial for gain, trial in gains if gain >= max(best * _ENOUGH, WORTH_DB)]
    return min(enough, key=lambda trial: len(trial.exclude))


def entry_yaml(report: DebugReport, changes: Mapping[str, JsonValue]) -> str:
    """``variants`` with the recipe's entry for this variant, changed."""
    # JSON is YAML, and quotes whatever a tensor name may hold.
    items = {**report.entry, **changes}.items()
    written = (f"{key}: {value if key in _PLAIN else json.dumps(value, ensure_ascii=False)}" for key, value in items)
    return f"variants: [{{{', '.join(written)}}}]"


def _level(closeness: Closeness) -> float | None:
    return math.inf if closeness.exact else closeness.sqnr_db


def _decibels(closeness: Closeness) -> str | None:
    return None if closeness.sqnr_db is None else units.decibel(closeness.sqnr_db)


def _exclusion(report: DebugReport) -> Iterator[Advice]:
    before = "NaN or infinite outputs" if report.whole.non_finite else _decibels(report.whole)
    if before is None or not any(layer.alone for layer in report.layers):
        return
    best = best_exclusion(report.exclusions, report.whole)
    if best is None and report.whole.non_finite:
        yield Advice(
            text="the outputs hold NaN or infinity, and no few layers left in float cure it; see which activations are "
            "not finite, and train the model to keep their values in a narrower range"
        )
        return
    if best is None:
        yield Advice(
            text=f"exclude nothing: no few layers left in float bring the outputs {WORTH_DB:g} dB closer to float32"
        )
        return
    layers = "1 layer" if len(best.exclude) == 1 else f"{len(best.exclude)} layers"
    after = _decibels(best.closeness) or "float32's own outputs"
    given = report.entry.get("exclude")
    yield Advice(
        text=f"leave {layers} in float: {before} become {after}; the model is then no longer "
        "fully integer, and slower where it changes between int8 and float",
        yaml=entry_yaml(report, {"exclude": [*(given if isinstance(given, list) else []), *best.exclude]}),
    )


def _method(report: DebugReport) -> Iterator[Advice]:
    gains = [(gain, trial) for trial in report.methods if (gain := gain_db(trial.closeness, report.whole)) is not None]
    if not gains:
        return
    gain, best = max(gains, key=lambda pair: pair[0])
    if gain >= WORTH_DB and best.method in report.auto_tried:
        yield Advice(
            text=f"activation ranges by {best.method} come closer than by {report.method} here: {units.gain(gain)} "
            f"without bias correction; `method: auto` held both against each other with it, and kept {report.method}"
        )
    elif gain >= WORTH_DB:
        yield Advice(
            text=f"choose activation ranges by {best.method} instead of {report.method}: {units.gain(gain)} at no cost "
            "when the model runs",
            yaml=f"dataset: {{calibration: {{method: {best.method}}}}}",
        )
    else:
        kept = "auto" if report.auto_tried else report.method
        yield Advice(text=f"keep calibration method {kept}: no other gains {WORTH_DB:g} dB over {report.method}")


def _clipping(report: DebugReport) -> Iterator[Advice]:
    tensors = [*report.inputs, *(layer.output for layer in report.layers if layer.op not in FIXED_RANGE)]
    clipped = sorted((t for t in tensors if (t.clipped or 0.0) > _CLIPPED), key=lambda t: -(t.clipped or 0.0))
    if clipped and report.subset == "evaluation":
        worst = clipped[0]
        counted = "1 activation" if len(clipped) == 1 else f"{len(clipped)} activations"
        cure = (
            "calibrate on more samples, or on samples more like these"
            if report.method == "minmax"
            else f"method {report.method} clips by intent; try minmax or more samples if that costs accuracy"
        )
        yield Advice(
            text=f"clipped at the int8 limits: more than {100 * _CLIPPED:g} % of the values of {counted}, worst "
            f"'{worst.tensor}' with {units.small_share(worst.clipped or 0.0)}; {cure}"
        )


def _outliers(report: DebugReport) -> Iterator[Advice]:
    extreme = sorted(
        (layer for layer in report.layers if (layer.output.crest_factor or 0.0) > _CREST and layer.exclude),
        key=lambda layer: -(layer.output.crest_factor or 0.0),
    )[:_NAMED]
    if extreme and report.method == "minmax":
        worst = extreme[0]
        overrides = ", ".join(f"{json.dumps(layer.exclude, ensure_ascii=False)}: mse" for layer in extreme)
        yield Advice(
            text=f"outliers: the largest value of '{worst.label}' is {worst.output.crest_factor:.0f} times its root "
            "mean square, so most values share a few int8 steps; try a method that cuts them off, for these alone",
            yaml=f"dataset: {{calibration: {{overrides: {{{overrides}}}}}}}",
        )


def _weights(report: DebugReport) -> Iterator[Advice]:
    gains = [(gain, trial) for trial in report.weights if (gain := gain_db(trial.closeness, report.whole)) is not None]
    if not gains:
        return
    gain, best = max(gains, key=lambda pair: pair[0])
    if gain < WORTH_DB:
        yield Advice(text=f"leave weights to the converter: no other way with them gains {WORTH_DB:g} dB")
    elif report.entry.get("weights") == best.weights:
        yield Advice(text=f"keep weights {best.way}: {units.gain(gain)}")
    elif report.entry.get("weights") is None and report.correction.setting == "auto":
        yield Advice(
            text=f"weights {best.way} come closer: {units.gain(gain)} without bias correction; `correction: auto` "
            "tries them with it, and keeps what is surely closer on samples held back"
        )
    else:
        yield Advice(
            text=f"have weights {best.way}: {units.gain(gain)} at no cost when the model runs",
            yaml=entry_yaml(report, {"weights": best.weights}),
        )


def _correction(report: DebugReport) -> Iterator[Advice]:
    trial = report.correction
    if trial.unserved is not None:
        yield Advice(text=f"bias correction cannot be tried: {trial.unserved}")
        return
    if report.whole.non_finite:
        return
    gain = gain_db(trial.closeness, report.whole)
    if trial.method is None or gain is None or gain <= 0:
        told = f"bias correction does not bring the outputs of these {report.samples} samples closer"
        judged = "" if trial.setting == "none" else "; convert keeps it only where it helps on samples held back"
        yield Advice(text=told + judged)
    elif trial.setting == "none":
        yield Advice(
            text=f"switch bias correction on: {trial.method} gains {units.gain(gain)} at no cost when the model runs",
            yaml=entry_yaml(report, {"correction": "auto"}),
        )
    else:
        yield Advice(text=f"keep bias correction ({trial.setting}): {trial.method} gains {units.gain(gain)}")
