"""What may bring an integer variant closer to float32: tried in turn, kept where samples held back say so."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tflite_ptq import atomic
from tflite_ptq.observer import Observer
from tflite_ptq.recipe.dataset import Dataset, Percentile, RangeMethod
from tflite_ptq.recipe.schema import Variant, Weights
from tflite_ptq.result import TensorInfo
from tflite_ptq.worker.children import Children
from tflite_ptq.worker.messages import Converted, Correct, Corrected, Prepare, Prepared, Quantize

BiasMethods = tuple[Literal["one-pass", "sequential"], ...]
BIAS_METHODS: dict[str, BiasMethods] = {
    "none": (),
    "one-pass": ("one-pass",),
    "sequential": ("sequential",),
    "auto": ("sequential", "one-pass"),
}
_RANGE_METHODS: tuple[RangeMethod, ...] = ("mse", Percentile(percentile=99.99))
_STANDARD_ERRORS = 2.0


@dataclass(frozen=True)
class Improving:
    """Corrects a variant's file, then tries other ranges and other weights for it. Samples come from ``dataset``."""

    inputs: tuple[TensorInfo, ...]
    dataset: Dataset
    float32: Path
    children: Children
    observer: Observer
    converting: ThreadPoolExecutor

    def improve(self, variant: Variant, file: Path) -> tuple[Corrected | None, tuple[str, ...]]:
        """Leaves the best of what was tried in ``file``.

        What its correction did, ``None`` where none was asked for; and a note on each thing tried.
        """
        best = self._correct(variant, self.float32, file)
        method: RangeMethod | None = None
        notes: list[str] = []
        if self._chooses_ranges(variant) and best is not None and best.correction is not None:
            best, method, note = self._with_ranges(variant, best, file)
            notes.append(note)
        if not variant.weighting.plain:
            best, note = self._with_weights(variant, best, method, file)
            notes.append(note)
        return best, tuple(notes)

    def _correct(self, variant: Variant, reference: Path, file: Path) -> Corrected | None:
        # The error that reaches a layer is not known in advance where activations are quantized at run time.
        methods = tuple(m for m in BIAS_METHODS[variant.correction] if variant.needs_calibration or m == "one-pass")
        if variant.scheme == "float16" or (not methods and variant.weighting.plain):
            return None
        self.observer.stage(f"correcting {variant.name}", 0, None)
        request = Correct(
            reference=str(reference), model=str(file), methods=methods, inputs=self.inputs, dataset=self.dataset
        )
        return self.children.runtime.ask(request, Corrected, f"correction of {variant.name}")

    def _chooses_ranges(self, variant: Variant) -> bool:
        calibration = self.dataset.calibration
        return (
            variant.scheme == "int8"  # int16x8 has steps to spare: nothing is won by clipping
            and variant.correction != "none"
            and calibration is not None
            and calibration.engine == "litert"
            and calibration.method == "auto"
        )

    def _with_ranges(self, variant: Variant, plain: Corrected, file: Path) -> tuple[Corrected, RangeMethod | None, str]:
        best, chosen = plain, None
        said = [f"minmax {_decibels(plain)}"]
        unprepared = variant.model_copy(update={"weights": Weights()})
        _, prepared = self._prepared(unprepared, _RANGE_METHODS, "activation ranges")
        for method, calibrated in zip(_RANGE_METHODS, prepared, strict=True):
            made, target = self._made(unprepared, calibrated)
            said.append(f"{_shown(method)} {_decibels(made)}")
            if surely_closer(made, best):
                best, chosen = made, method
                atomic.write(file, target.read_bytes())
        name = "minmax" if chosen is None else _shown(chosen)
        return best, chosen, f"activation ranges by {name}: outputs on samples held back: {', '.join(said)}"

    def _with_weights(
        self, variant: Variant, plain: Corrected | None, method: RangeMethod | None, file: Path
    ) -> tuple[Corrected | None, str]:
        if plain is None or plain.correction is None:
            return plain, "weights left to the converter: the model cannot be followed layer by layer"
        summary, (calibrated,) = self._prepared(variant, (method,), "weights")
        made, target = self._made(variant, calibrated)
        verdict = f"{summary}: outputs at {_decibels(made)} on samples held back, {_decibels(plain)} without"
        if not surely_closer(made, plain):
            return plain, f"weights: refused, {verdict}"
        atomic.write(file, target.read_bytes())
        return made, f"weights: kept, {verdict}"

    def _prepared(
        self, variant: Variant, methods: tuple[RangeMethod | None, ...], what: str
    ) -> tuple[str, tuple[Path, ...]]:
        """Float files with the variant's own way with weights and ranges by each method; what was done, in words."""
        targets = tuple(self._work(variant, f"prepared{number}") for number in range(len(methods)))
        prepare = Prepare(
            model=str(self.float32),
            variant=variant,
            methods=methods,
            targets=tuple(map(str, targets)),
            reference=str(self._work(variant, "reference")),
            inputs=self.inputs,
            dataset=self.dataset,
        )
        stage = f"preparing {what} of {variant.name}"
        return self.children.runtime.ask(prepare, Prepared, stage, self._progress(stage)).summary, targets

    def _made(self, variant: Variant, calibrated: Path) -> tuple[Corrected, Path]:
        """A prepared file quantized and corrected: what its correction did, and the file."""
        file = self._work(variant, "made")
        quantize = Quantize(calibrated=str(calibrated), variant=variant, target=str(file))
        # The converter answers one thread only.
        self.converting.submit(
            self.children.converter.ask, quantize, Converted, f"conversion of {variant.name}"
        ).result()
        return self._correct(variant, self._work(variant, "reference"), file) or Corrected(), file

    def _work(self, variant: Variant, part: str) -> Path:
        return self.children.work / f"{variant.name}.{part}.tflite"

    def _progress(self, what: str) -> Callable[[int, int], None]:
        return lambda done, total: self.observer.stage(what, done, total)


def surely_closer(one: Corrected, other: Corrected) -> bool:
    """Whether the outputs of ``one`` are closer to float32 on the same samples held back, by more than chance: the mean
    of the paired differences in dB beyond two of its standard errors, and no more noise in all. The second because
    clipping may serve most samples a little and one very badly, which a mean of logarithms forgives."""
    if len(one.closeness_db) != len(other.closeness_db) or len(one.closeness_db) < 2:
        return False
    if _noise(one) > _noise(other):
        return False
    gains = [a - b for a, b in zip(one.closeness_db, other.closeness_db, strict=True)]
    return statistics.fmean(gains) > _STANDARD_ERRORS * statistics.stdev(gains) / math.sqrt(len(gains))


def _noise(made: Corrected) -> float:
    """Over all samples held back, relative to the power of the outputs."""
    return math.fsum(10 ** (-value / 10) for value in made.closeness_db)


def _shown(method: RangeMethod) -> str:
    return f"percentile {method.percentile:g}" if isinstance(method, Percentile) else method


def _decibels(made: Corrected) -> str:
    value = made.correction.sqnr_after_db if made.correction else None
    return "an unknown SQNR" if value is None else f"{value:.1f} dB"
