"""What may bring an integer variant closer to float32: tried in turn, kept where samples held back say so."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean
from typing import Literal

from tflite_ptq import atomic
from tflite_ptq.errors import ConversionError, MeasurementError, WorkerCrash
from tflite_ptq.observer import Observer
from tflite_ptq.quantize.correction.closer import closest, unless_exact
from tflite_ptq.recipe.dataset import Dataset, Percentile, RangeMethod
from tflite_ptq.recipe.schema import Variant, Weights
from tflite_ptq.report.notes import closeness, judged_on
from tflite_ptq.result import Correction, LayerCorrection, TensorInfo
from tflite_ptq.worker.calibration_messages import Correct, Corrected, Prepare, Prepared
from tflite_ptq.worker.children import Children
from tflite_ptq.worker.messages import Converted, Quantize

BiasMethods = tuple[Literal["one-pass", "sequential"], ...]
BIAS_METHODS: dict[str, BiasMethods] = {
    "none": (),
    "one-pass": ("one-pass",),
    "sequential": ("sequential",),
    "auto": ("sequential", "one-pass"),
}
RANGE_METHODS: tuple[RangeMethod, ...] = ("mse", Percentile(percentile=99.99))
"""What ``method: auto`` holds against the converter's own."""
_ITS_OWN = (ConversionError, MeasurementError, WorkerCrash)
"""What costs an attempt that nobody asked for, and not the variant."""


@dataclass(frozen=True)
class _Attempt:
    """The variant with other weights, corrected, in ``file``."""

    weights: Weights
    prepared: Prepared
    made: Corrected
    file: Path


@dataclass(frozen=True)
class Improving:
    """Corrects a variant's file, then tries other ranges and other weights for it. Samples come from ``dataset``."""

    inputs: tuple[TensorInfo, ...]
    dataset: Dataset
    float32: Path
    children: Children
    observer: Observer
    converting: ThreadPoolExecutor
    _prepared_ranges: list[Path] = field(default_factory=list)
    """The same for every variant, so they are found once."""
    _saturation: list[str] = field(default_factory=list)
    """What evaluation samples leave of each."""

    def improve(self, variant: Variant, file: Path, *, ranged: Path | None) -> tuple[Corrected | None, tuple[str, ...]]:
        """Leaves the best of what was tried in ``file``; ``ranged``: the float file with the ranges of our own
        calibrator that it was quantized from, if it was.

        What its correction did, ``None`` where none was asked for; and a note on each thing tried.
        """
        others = self._with_other_ranges(variant) if ranged is not None and self.chooses_ranges(variant) else ()
        best = self._correct(variant, self.float32, file, others)
        method: RangeMethod | None = None
        notes: list[str] = []
        if others and best is not None and best.correction is not None:
            notes.append(_on_ranges(best, best.correction))
            if best.chosen:
                method, ranged = RANGE_METHODS[best.chosen - 1], self._prepared_ranges[best.chosen - 1]
                notes += filter(None, [self._saturation[best.chosen - 1]])
        if best is not None and variant.weightings:
            best, note = self._with_weights(variant, best, method, ranged, file)
            notes += filter(None, [note])
        return best, tuple(notes)

    def chosen_ranges(self, variant: Variant, file: Path) -> tuple[RangeMethod, Path] | None:
        """The method whose activation ranges ``improve`` would keep, and the float file that holds them.

        ``None`` where those stay that ``file`` was quantized with. ``file`` is left corrected.
        """
        best = self._correct(variant, self.float32, file, self._with_other_ranges(variant))
        kept = best.chosen - 1 if best is not None and best.correction is not None else -1
        return None if kept < 0 else (RANGE_METHODS[kept], self._prepared_ranges[kept])

    def _correct(
        self, variant: Variant, reference: Path, file: Path, others: Sequence[Path] = (), *, in_turn: bool = True
    ) -> Corrected | None:
        # The error that reaches a layer is not known in advance where activations are quantized at run time.
        methods = tuple(m for m in BIAS_METHODS[variant.correction] if variant.needs_calibration or m == "one-pass")
        if variant.scheme == "float16" or not (methods or variant.weightings):
            return None
        self.observer.stage(f"correcting {variant.name}", 0, None)
        request = Correct(
            reference=str(reference),
            model=str(file),
            others=tuple(map(str, others)),
            in_turn=in_turn,
            methods=methods,
            inputs=self.inputs,
            dataset=self.dataset,
        )
        return self.children.runtime.ask(request, Corrected, f"correction of {variant.name}")

    def chooses_ranges(self, variant: Variant) -> bool:
        """Whether ranges by other methods are tried for it."""
        calibration = self.dataset.calibration
        return (
            variant.scheme == "int8"  # int16x8 has steps to spare: nothing is won by clipping
            and variant.correction != "none"
            and calibration is not None
            and calibration.engine == "litert"
            and calibration.method == "auto"
        )

    def _with_other_ranges(self, variant: Variant) -> tuple[Path, ...]:
        """The variant by each of the other methods, quantized and not corrected."""
        if not self._prepared_ranges:
            prepared, targets = self._prepared(variant, Weights(), RANGE_METHODS, None, "ranges")
            self._prepared_ranges.extend(targets)
            self._saturation.extend(prepared.saturation)
        return tuple(
            self._quantized(variant, calibrated, f"by{number}")
            for number, calibrated in enumerate(self._prepared_ranges)
        )

    def _with_weights(
        self, variant: Variant, plain: Corrected, method: RangeMethod | None, ranged: Path | None, file: Path
    ) -> tuple[Corrected, str]:
        by_default = variant.weights is None
        if plain.correction is None:
            why = "the model cannot be followed layer by layer"
            return plain, "" if by_default else f"weights left to the converter: {why}"
        if by_default and not plain.correction.held_back:
            return plain, "weights left to the converter: too few calibration samples to hold any back"
        try:
            tried = self._attempts(variant, method, ranged)
        except _ITS_OWN as error:
            if not by_default:
                raise
            return plain, f"weights left to the converter: {error}"
        return _best(plain, tried, file)

    def _attempts(self, variant: Variant, method: RangeMethod | None, ranged: Path | None) -> list[_Attempt]:
        """The variant with other weights, each way once."""
        tried: list[_Attempt] = []
        for weights in variant.weightings:
            if any(weights == one.weights for one in tried):
                continue
            prepared, (calibrated,) = self._prepared(variant, weights, (method,), ranged, "weights")
            if weights.equalize and not prepared.pairs:
                weights = weights.model_copy(update={"equalize": False})
            target = self._quantized(variant, calibrated, f"made{len(tried)}")
            # The weights were made by looking at all samples but those held back.
            made = self._correct(variant, self._work(variant, "reference"), target, in_turn=False) or Corrected()
            tried.append(_Attempt(weights, prepared, made, target))
        return tried

    def _prepared(
        self,
        variant: Variant,
        weights: Weights,
        methods: tuple[RangeMethod | None, ...],
        ranged: Path | None,
        what: str,
    ) -> tuple[Prepared, tuple[Path, ...]]:
        """Float files with the ``weights`` and with ranges by each method; what was done."""
        targets = tuple(self._work(variant, f"{what}{number}") for number in range(len(methods)))
        prepare = Prepare(
            model=str(self.float32),
            variant=variant,
            weights=weights,
            methods=methods,
            ranged=None if ranged is None else str(ranged),
            targets=tuple(map(str, targets)),
            reference=str(self._work(variant, "reference")),
            inputs=self.inputs,
            dataset=self.dataset,
        )
        stage = f"preparing {what} of {variant.name}"
        return self.children.runtime.ask(prepare, Prepared, stage, self._progress(stage)), targets

    def _quantized(self, variant: Variant, calibrated: Path, part: str) -> Path:
        """A prepared file quantized."""
        file = self._work(variant, part)
        quantize = Quantize(calibrated=str(calibrated), variant=variant, target=str(file))
        # The converter answers one thread only.
        self.converting.submit(
            self.children.converter.ask, quantize, Converted, f"conversion of {variant.name}"
        ).result()
        return file

    def _work(self, variant: Variant, part: str) -> Path:
        return self.children.work / f"{variant.name}.{part}.tflite"

    def _progress(self, what: str) -> Callable[[int, int], None]:
        return lambda done, total: self.observer.stage(what, done, total)


def _on_ranges(best: Corrected, judged: Correction) -> str:
    names = ("minmax", *map(_shown, RANGE_METHODS))
    tried = ", ".join(
        f"{name} NaN" if value is None else f"{name} {closeness(unless_exact(value))}"
        for name, value in zip(names, best.tried_db, strict=True)
    )
    return f"activation ranges by {names[best.chosen]}: mean SQNR on {judged_on(judged)}: {tried}"


def _best(plain: Corrected, tried: Sequence[_Attempt], file: Path) -> tuple[Corrected, str]:
    """The closest, in ``file`` where it is not what that holds, and a note on all of them."""
    judged = next((one.made.correction for one in tried if one.made.correction is not None), None)
    if judged is None:
        return plain, f"weights left to the converter: {tried[0].made.unserved}"
    # The first fold's, where each part was held back in its turn.
    plain_db = plain.closeness_db[: judged.held_back_samples]
    place = closest(plain_db, [one.made.closeness_db for one in tried])
    best = None if place is None else tried[place]
    told = [f"the converter's {_mean(plain_db)}"]
    told += [f"{one.weights.in_words} {_mean(one.made.closeness_db)}" for one in tried]
    kept = "left to the converter" if best is None else best.weights.in_words
    note = f"weights {kept}: mean SQNR on {judged_on(judged)}: {', '.join(told)}"
    if best is None:
        nearest = max(tried, key=lambda one: fmean(one.made.closeness_db or [-math.inf]))
        return _with_layers(plain, map(_refused, nearest.prepared.layers)), note
    atomic.write(file, best.file.read_bytes())
    return _with_layers(best.made, best.prepared.layers), note


def _with_layers(made: Corrected, layers: Iterable[LayerCorrection]) -> Corrected:
    if made.correction is None:
        return made
    return made.model_copy(update={"correction": made.correction.model_copy(update={"weights": tuple(layers)})})


def _refused(layer: LayerCorrection) -> LayerCorrection:
    return layer if layer.status == "skipped" else layer.model_copy(update={"status": "refused"})


def _shown(method: RangeMethod) -> str:
    return f"percentile {method.percentile:g}" if isinstance(method, Percentile) else method


def _mean(closeness_db: Sequence[float]) -> str:
    return closeness(unless_exact(fmean(closeness_db))) if closeness_db else "unknown"
