"""What may bring an integer variant closer to float32: tried in turn, kept where samples held back say so."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tflite_ptq.quantize.correction.closer import unless_exact
from tflite_ptq.recipe.dataset import Percentile, RangeMethod
from tflite_ptq.recipe.schema import Variant, Weights
from tflite_ptq.remaking import FloatFiles, Remaking
from tflite_ptq.report.notes import closeness, judged_on
from tflite_ptq.result import Correction
from tflite_ptq.reweighting import Plain, reweighted
from tflite_ptq.worker.calibration_messages import Corrected

RANGE_METHODS: tuple[RangeMethod, ...] = ("mse", Percentile(percentile=99.99))
"""What ``method: auto`` holds against the converter's own."""


@dataclass(frozen=True)
class Improving:
    """Corrects a variant's file, then tries other ranges and other weights for it."""

    remaking: Remaking

    def improve(self, variant: Variant, file: Path, *, ranged: Path | None) -> tuple[Corrected | None, tuple[str, ...]]:
        """Leaves the best of what was tried in ``file``; ``ranged``: the float file with the ranges of our own
        calibrator that it was quantized from, if it was.

        What its correction did, ``None`` where none was asked for; and a note on each thing tried.
        """
        if not self.remaking.corrects(variant):
            return None, ()
        others = self._with_other_ranges(variant) if ranged is not None and self.chooses_ranges(variant) else ()
        best = self.remaking.correct(variant, file, others)
        method: RangeMethod | None = None
        notes: list[str | None] = []
        if others and best.correction is not None:
            notes.append(_on_ranges(best, best.correction))
            if best.chosen:
                kept, by_methods = best.chosen - 1, self._by_methods(variant)
                method, ranged = RANGE_METHODS[kept], by_methods.ranged[kept]
                notes.append(by_methods.prepared.saturation[kept])
        if variant.weightings:
            best, note = reweighted(self.remaking, variant, Plain(file, best, method, ranged))
            notes.append(note)
        return best, tuple(note for note in notes if note)

    def chosen_ranges(self, variant: Variant, file: Path) -> tuple[RangeMethod, Path] | None:
        """The method whose activation ranges ``improve`` would keep, and the float file that holds them.

        ``None`` where those stay that ``file`` was quantized with. ``file`` is left corrected.
        """
        best = self.remaking.correct(variant, file, self._with_other_ranges(variant))
        kept = best.chosen - 1 if best.correction is not None else -1
        return None if kept < 0 else (RANGE_METHODS[kept], self._by_methods(variant).ranged[kept])

    def chooses_ranges(self, variant: Variant) -> bool:
        """Whether ranges by other methods are tried for it."""
        calibration = self.remaking.dataset.calibration
        return (
            variant.scheme == "int8"  # int16x8 has steps to spare: nothing is won by clipping
            and variant.correction != "none"
            and calibration is not None
            and calibration.engine == "litert"
            and calibration.method == "auto"
        )

    def _with_other_ranges(self, variant: Variant) -> tuple[Path, ...]:
        """The variant by each of the other methods, quantized and not corrected."""
        return tuple(
            self.remaking.quantize(variant, ranged, f"by{number}")
            for number, ranged in enumerate(self._by_methods(variant).ranged)
        )

    def _by_methods(self, variant: Variant) -> FloatFiles:
        return self.remaking.prepare(variant, Weights(), RANGE_METHODS)


def _on_ranges(best: Corrected, judged: Correction) -> str:
    names = ("minmax", *map(_shown, RANGE_METHODS))
    tried = ", ".join(
        f"{name} NaN" if value is None else f"{name} {closeness(unless_exact(value))}"
        for name, value in zip(names, best.tried_db, strict=True)
    )
    return f"activation ranges by {names[best.chosen]}: mean SQNR on {judged_on(judged)}: {tried}"


def _shown(method: RangeMethod) -> str:
    return f"percentile {method.percentile:g}" if isinstance(method, Percentile) else method
