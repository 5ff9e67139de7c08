"""What is done to a variant's file after its conversion: bias correction, and its own way with weights."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tflite_ptq import atomic
from tflite_ptq.observer import Observer
from tflite_ptq.recipe.dataset import Dataset
from tflite_ptq.recipe.schema import FLOAT32, Variant
from tflite_ptq.result import TensorInfo
from tflite_ptq.worker.children import Children
from tflite_ptq.worker.messages import Converted, Correct, Corrected, Prepare, Prepared, Quantize

_METHODS: dict[str, tuple[Literal["one-pass", "sequential"], ...]] = {
    "none": (),
    "one-pass": ("one-pass",),
    "sequential": ("sequential",),
    "auto": ("sequential", "one-pass"),
}


@dataclass(frozen=True)
class Correcting:
    """Corrects variants against float32, both in ``folder``."""

    dataset: Dataset
    inputs: tuple[TensorInfo, ...]
    folder: Path
    children: Children
    observer: Observer

    def correct(self, variant: Variant, converting: ThreadPoolExecutor) -> tuple[Corrected | None, str | None]:
        """Corrects a variant's file in place; with what became of its weights, in words."""
        corrected = self._correct(variant, self._file(FLOAT32), self._file(variant.name))
        if variant.weighting.plain:
            return corrected, None
        return self._with_weights(variant, corrected, converting)

    def _correct(self, variant: Variant, reference: Path, file: Path) -> Corrected | None:
        # The error that reaches a layer is not known in advance where activations are quantized at run time.
        methods = tuple(m for m in _METHODS[variant.correction] if variant.needs_calibration or m == "one-pass")
        if variant.scheme == "float16" or (not methods and variant.weighting.plain):
            return None
        self.observer.stage(f"correcting {variant.name}", 0, None)
        request = Correct(
            reference=str(reference), model=str(file), methods=methods, inputs=self.inputs, dataset=self.dataset
        )
        return self.children.runtime.ask(request, Corrected, f"correction of {variant.name}")

    def _with_weights(
        self, variant: Variant, plain: Corrected | None, converting: ThreadPoolExecutor
    ) -> tuple[Corrected | None, str]:
        """Tries the variant's own way with weights, and keeps it where the samples held back are closer to float."""
        name, work = variant.name, self.children.work
        if plain is None or plain.correction is None:
            return plain, "weights left to the converter: the model cannot be followed layer by layer"
        prepared, reference, file = (work / f"{name}.{part}.tflite" for part in ("prepared", "reference", "made"))
        prepare = Prepare(
            model=str(self._file(FLOAT32)),
            variant=variant,
            inputs=self.inputs,
            dataset=self.dataset,
            target=str(prepared),
            reference=str(reference),
        )
        what = f"preparing weights of {name}"
        summary = self.children.runtime.ask(prepare, Prepared, what, self._progress(what)).summary
        quantize = Quantize(calibrated=str(prepared), variant=variant, target=str(file))
        # The converter answers one thread only.
        converting.submit(self.children.converter.ask, quantize, Converted, f"conversion of {name}").result()
        corrected = self._correct(variant, reference, file)
        before = plain.correction.sqnr_after_db
        after = corrected.correction.sqnr_after_db if corrected and corrected.correction else None
        verdict = f"{summary}: outputs at {_decibels(after)} on samples held back, {_decibels(before)} without"
        if after is None or after <= before:
            return plain, f"weights: refused, {verdict}"
        atomic.write(self._file(name), file.read_bytes())
        return corrected, f"weights: kept, {verdict}"

    def _file(self, name: str) -> Path:
        return self.folder / f"{name}.tflite"

    def _progress(self, what: str) -> Callable[[int, int], None]:
        return lambda done, total: self.observer.stage(what, done, total)


def _decibels(value: float | None) -> str:
    return "an unknown SQNR" if value is None else f"{value:.1f} dB"
