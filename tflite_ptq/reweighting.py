"""Other weights for an integer variant: each way is tried, the closest kept where samples held back say so."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

from tflite_ptq import atomic
from tflite_ptq.quantize.correction.closer import closest, unless_exact
from tflite_ptq.recipe.dataset import RangeMethod
from tflite_ptq.recipe.schema import Variant, Weights
from tflite_ptq.remaking import ITS_OWN, Remaking
from tflite_ptq.report.notes import closeness, judged_on
from tflite_ptq.result import LayerCorrection
from tflite_ptq.worker.calibration_messages import Corrected, Prepared

_LEFT = "weights left to the converter"


@dataclass(frozen=True)
class Plain:
    """The variant with the converter's weights, in ``file``: what its correction did, the ``method`` of its activation
    ranges (``None``: the dataset's), and the float file that holds them, if it was quantized from one."""

    file: Path
    corrected: Corrected
    method: RangeMethod | None
    ranged: Path | None


@dataclass(frozen=True)
class _Attempt:
    """The variant with other weights, in ``file``; how close it comes to ``reference``, its float file, corrected."""

    weights: Weights
    prepared: Prepared
    reference: Path
    file: Path
    judged: Corrected


def reweighted(remaking: Remaking, variant: Variant, plain: Plain) -> tuple[Corrected, str | None]:
    """Leaves the variant with the weights that bring it closest in ``plain.file``: what its correction did, and a note.

    Raises what ``Remaking`` does where the recipe asks for the weights; what is tried by default costs nothing.
    """
    by_default, correction = variant.weights is None, plain.corrected.correction
    if by_default and (correction is None or plain.ranged is None):
        return plain.corrected, None  # TFLiteConverter's own calibration was asked for, or served in the place of ours
    if correction is None:
        return plain.corrected, f"{_LEFT}: {plain.corrected.unserved}"
    if by_default and not correction.held_back:
        return plain.corrected, f"{_LEFT}: too few calibration samples to hold any back"
    tried = _attempts(remaking, variant, plain)
    if not tried:
        return plain.corrected, None if by_default else f"{_LEFT}: no layer of the model can be changed so"
    return _closest(remaking, variant, plain, tried)


def _attempts(remaking: Remaking, variant: Variant, plain: Plain) -> list[_Attempt]:
    """The variant with other weights, each way once and where it changes any."""
    tried: list[_Attempt] = []
    for number, weights in enumerate(variant.weightings):
        if any(weights == one.weights for one in tried):
            continue
        try:
            attempt = _attempt(remaking, variant, plain, weights, f"weights{number}")
        except ITS_OWN as error:
            if variant.weights is not None:
                raise
            attempt = _Attempt(weights, Prepared(), plain.file, plain.file, Corrected(unserved=str(error)))
        if attempt is not None:
            tried.append(attempt)
    return tried


def _attempt(remaking: Remaking, variant: Variant, plain: Plain, weights: Weights, part: str) -> _Attempt | None:
    made = remaking.prepare(variant, weights, (plain.method,), ranged=plain.ranged)
    weights = made.prepared.done_of(weights)
    if weights.plain or not any(layer.status == "kept" for layer in made.prepared.layers):
        return None
    file = remaking.quantize(variant, made.ranged[0], part)
    # The weights were made by looking at all samples but those held back.
    judged = remaking.correct(variant, file, reference=made.reference, in_turn=False, judge_only=True)
    return _Attempt(weights, made.prepared, made.reference, file, judged)


def _closest(remaking: Remaking, variant: Variant, plain: Plain, tried: Sequence[_Attempt]) -> tuple[Corrected, str]:
    """The closest, in ``plain.file`` where it is not what that holds, and a note on all of them."""
    held_back = next((one.judged.correction for one in tried if one.judged.correction is not None), None)
    if held_back is None:
        return plain.corrected, f"{_LEFT}: {tried[0].judged.unserved}"
    # The first fold's, where each part was held back in its turn.
    plain_db = plain.corrected.closeness_db[: held_back.held_back_samples]
    place = closest(plain_db, [one.judged.closeness_db for one in tried])
    told = [f"the converter's {_mean(plain_db)}"]
    told += [f"{one.weights.in_words} {_mean(one.judged.closeness_db)}" for one in tried]
    compared = f"mean SQNR on {judged_on(held_back)}: {', '.join(told)}"
    if place is None:
        nearest = max(tried, key=lambda one: fmean(one.judged.closeness_db or [-math.inf]))
        return _with_layers(plain.corrected, map(_refused, nearest.prepared.layers)), f"{_LEFT}: {compared}"
    best = tried[place]
    made = remaking.correct(variant, best.file, reference=best.reference, in_turn=False)
    atomic.write(plain.file, best.file.read_bytes())
    return _with_layers(made, best.prepared.layers), f"weights {best.weights.in_words}: {compared}"


def _with_layers(made: Corrected, layers: Iterable[LayerCorrection]) -> Corrected:
    if made.correction is None:
        return made
    return made.model_copy(update={"correction": made.correction.model_copy(update={"weights": tuple(layers)})})


def _refused(layer: LayerCorrection) -> LayerCorrection:
    return layer if layer.status == "skipped" else layer.model_copy(update={"status": "refused"})


def _mean(closeness_db: Sequence[float]) -> str:
    return closeness(unless_exact(fmean(closeness_db))) if closeness_db else "unknown"
