"""The files of a run: float32, one calibration for all integer variants, each variant, its correction, its audit."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from tflite_ptq import atomic
from tflite_ptq.errors import ConversionError
from tflite_ptq.improving import Improving, Observer
from tflite_ptq.journal import Journal
from tflite_ptq.recipe.schema import FLOAT32, Recipe, Variant
from tflite_ptq.result import TensorInfo
from tflite_ptq.worker.children import Children
from tflite_ptq.worker.messages import (
    Audited,
    AuditFile,
    Calibrate,
    Calibrated,
    Convert,
    Converted,
    Examine,
    Examined,
    Quantize,
)

NEEDS_SOURCE = "needs the source model: TFLiteConverter cannot read a .tflite; name the .keras, .h5 or SavedModel"


@dataclass(frozen=True)
class Building:
    """Builds the variants of a recipe. Conversions run in the converter while the runtime calibrates and audits."""

    recipe: Recipe
    variants: tuple[Variant, ...]
    inputs: tuple[TensorInfo, ...]
    folder: Path
    children: Children
    journal: Journal
    observer: Observer

    def build(self, converting: ThreadPoolExecutor) -> None:
        """Every file of the run; what fails costs its variant, but for float32, the yardstick."""
        started = time.monotonic()
        shared = tuple(variant for variant in self.variants if self._shares_calibration(variant))
        float_job = converting.submit(self._convert, None)
        jobs = {v.name: converting.submit(self._convert, v) for v in self.variants if v not in shared}
        self._finish(None, float_job, converting)
        self._examine()
        if shared:
            jobs |= self._quantize_all(shared, converting)
        for variant in self.variants:
            self._finish(variant, jobs[variant.name], converting)
        self.journal.lasted("convert", time.monotonic() - started)

    def _examine(self) -> None:
        dataset = self.recipe.dataset
        if dataset is None or not any(variant.needs_calibration for variant in self.variants):
            return
        request = Examine(model=str(self._file(FLOAT32)), inputs=self.inputs, dataset=dataset)
        self.observer.stage("examining the calibration samples", 0, None)
        self.journal.examined(self.children.runtime.ask(request, Examined, "examination of the samples"))

    def _shares_calibration(self, variant: Variant) -> bool:
        dataset = self.recipe.dataset
        return (
            variant.needs_calibration
            and dataset is not None
            and dataset.calibration is not None
            and dataset.calibration.engine == "litert"
        )

    def _quantize_all(
        self, variants: tuple[Variant, ...], converting: ThreadPoolExecutor
    ) -> dict[str, Future[Converted]]:
        dataset = self.recipe.dataset
        assert dataset is not None
        target = self.children.work / "calibrated.tflite"
        request = Calibrate(model=str(self._file(FLOAT32)), inputs=self.inputs, dataset=dataset, target=str(target))
        calibrated = self.children.runtime.ask(request, Calibrated, "calibration", self._progress("calibrating"))
        self.journal.calibrated(calibrated)
        if calibrated.unserved is None:
            return {v.name: converting.submit(self._quantize, v, target) for v in variants}
        for variant in variants:
            self.journal.note(
                variant.name, f"calibrated by TFLiteConverter (engine tflite) because {calibrated.unserved}"
            )
        return {v.name: converting.submit(self._convert, v) for v in variants}

    def _quantize(self, variant: Variant, calibrated: Path) -> Converted:
        self.observer.stage(f"quantizing {variant.name}", 0, None)
        request = Quantize(calibrated=str(calibrated), variant=variant, target=str(self._file(variant.name)))
        return self.children.converter.ask(request, Converted, f"conversion of {variant.name}")

    def _convert(self, variant: Variant | None) -> Converted:
        if self.journal.model_format == "tflite":
            return self._take_tflite(variant)
        name = variant.name if variant else FLOAT32
        self.observer.stage(f"converting {name}", 0, None)
        if variant is not None and variant.exclude:
            raise ConversionError(
                f"{name}: exclude needs dataset.calibration.engine: litert and a model that it can serve"
            )
        request = Convert(
            saved_model=str(self.children.exported),
            variant=variant,
            inputs=self.inputs,
            dataset=self.recipe.dataset,
            target=str(self._file(name)),
            yardstick=str(self._file(FLOAT32)) if variant else None,
        )
        return self.children.converter.ask(
            request, Converted, f"conversion of {name}", self._progress(f"calibrating {name}")
        )

    def _take_tflite(self, variant: Variant | None) -> Converted:
        source = Path(self.recipe.model.path)
        if variant is not None:
            raise ConversionError(f"{variant.name}: {NEEDS_SOURCE} as model.path instead of {source}")
        atomic.write(self._file(FLOAT32), source.read_bytes())
        return Converted()

    def _finish(self, variant: Variant | None, job: Future[Converted], converting: ThreadPoolExecutor) -> None:
        name = variant.name if variant else FLOAT32
        file = self._file(name)
        with self.journal.guarding(name, fatal=variant is None):
            self.journal.converted(name, file, job.result())
            dataset = self.recipe.dataset
            if variant is not None and dataset is not None and dataset.calibration is not None:
                improving = Improving(
                    inputs=self.inputs,
                    dataset=dataset,
                    float32=Path(self._file(FLOAT32)),
                    children=self.children,
                    journal=self.journal,
                    observer=self.observer,
                    converting=converting,
                )
                corrected = improving.improve(variant, file)
                if corrected is not None:
                    self.journal.corrected(name, file, corrected)
            request = AuditFile(name=name, model=str(file), variant=variant, inputs=self.inputs, dataset=dataset)
            self.journal.audited(name, self.children.runtime.ask(request, Audited, f"audit of {name}"))

    def _file(self, name: str) -> Path:
        return self.folder / f"{name}.tflite"

    def _progress(self, what: str) -> Callable[[int, int], None]:
        return lambda done, total: self.observer.stage(what, done, total)
