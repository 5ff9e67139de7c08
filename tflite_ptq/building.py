"""The files of a run: float32, one calibration for all integer variants, each variant, its correction, its audit.

Each step looks in the cache first; what is not there is done, and kept.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from tflite_ptq import atomic
from tflite_ptq.cache.key import Key
from tflite_ptq.cache.keys import Keys
from tflite_ptq.cache.session import Cache
from tflite_ptq.errors import ConversionError
from tflite_ptq.fingerprint import sha256_of
from tflite_ptq.improving import Improving
from tflite_ptq.journal import Journal
from tflite_ptq.model.tflite_source import needs_source, shares_calibration
from tflite_ptq.observer import Observer
from tflite_ptq.opening import Source
from tflite_ptq.recipe.schema import FLOAT32, Recipe, Variant
from tflite_ptq.report.notes import by_plain_kernels
from tflite_ptq.result import Frozen, TensorInfo
from tflite_ptq.worker.children import Children
from tflite_ptq.worker.messages import (
    Audited,
    AuditFile,
    Calibrate,
    Calibrated,
    Convert,
    Converted,
    Corrected,
    Examine,
    Examined,
    Quantize,
    Settled,
)

_MODEL = "model.tflite"
"""What an entry of the cache calls the file that it holds."""


class Built(Frozen):
    """A variant's file is in its place, corrected: what was found on the way."""

    converted: Converted
    corrected: Corrected | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Begun:
    """A variant (``None``: float32) under its key: taken out of the cache, or being converted."""

    variant: Variant | None
    key: Key
    state: Built | Future[Converted]
    calibrated: bool = False
    """With the ranges of our own calibrator."""


@dataclass(frozen=True)
class Building:
    """Builds the variants of a recipe. Conversions run in the converter while the runtime calibrates and audits."""

    recipe: Recipe
    variants: tuple[Variant, ...]
    inputs: tuple[TensorInfo, ...]
    folder: Path
    source: Source
    children: Children
    cache: Cache
    keys: Keys
    journal: Journal
    observer: Observer

    def build(self, converting: ThreadPoolExecutor) -> None:
        """Every file of the run; what fails costs its variant, but for float32, the yardstick."""
        started = time.monotonic()
        shared = tuple(v for v in self.variants if shares_calibration(v, self.recipe.dataset))
        float32 = self._begin(None, self.keys.float32(), self._convert, converting)
        begun = {v.name: self._begin_alone(v, converting) for v in self.variants if v not in shared}
        self._finish(float32, None)
        self._examine()
        if shared:
            begun |= self._quantize_all(shared, converting)
        improving = self._improving(converting)
        for variant in self.variants:
            self._finish(begun[variant.name], improving)
        self.journal.lasted("convert", time.monotonic() - started)

    def _begin(
        self,
        variant: Variant | None,
        key: Key,
        convert: Callable[[Variant | None], Converted],
        converting: ThreadPoolExecutor,
        *,
        calibrated: bool = False,
    ) -> _Begun:
        name = _name(variant)
        built = self.cache.look(key, Built, name, {_MODEL: self._file(name)})
        return _Begun(variant, key, built or converting.submit(convert, variant), calibrated)

    def _begin_alone(self, variant: Variant, converting: ThreadPoolExecutor) -> _Begun:
        """Without ranges that others share."""
        return self._begin(variant, self.keys.variant(variant, self.journal.samples, None), self._convert, converting)

    def _examine(self) -> None:
        dataset = self.recipe.dataset
        if dataset is None or not any(variant.needs_calibration for variant in self.variants):
            return
        request = Examine(model=str(self._file(FLOAT32)), inputs=self.inputs, dataset=dataset)
        self.observer.stage("examining the calibration samples", 0, None)
        self.journal.examined(
            self.cache.through(
                self.keys.examination(self.journal.samples),
                Examined,
                "examination",
                lambda: self.children.runtime.ask(request, Examined, "examination of the samples"),
            )
        )

    def _quantize_all(self, variants: tuple[Variant, ...], converting: ThreadPoolExecutor) -> dict[str, _Begun]:
        """Calibrates once, and quantizes with the same ranges all variants that can share them."""
        dataset = self.recipe.dataset
        assert dataset is not None
        target = self.children.work / "calibrated.tflite"
        request = Calibrate(model=str(self._file(FLOAT32)), inputs=self.inputs, dataset=dataset, target=str(target))
        key = self.keys.calibration(self.journal.samples)
        calibrated = self.cache.look(key, Calibrated, "calibration", {_MODEL: target})
        if calibrated is None:
            converting.submit(self.children.converter.warm_up)  # other ranges make other variants
            calibrated = self.children.runtime.ask(request, Calibrated, "calibration", self._progress("calibrating"))
            calibrated = self._settled(calibrated, request, converting)
            self.cache.keep(key, calibrated.model_copy(update={"calibration_s": None}), {_MODEL: target})
        self.journal.calibrated(calibrated)
        if calibrated.refused is not None:
            for variant in variants:
                self.journal.note(variant.name, by_plain_kernels("calibrated", calibrated.refused))
        if calibrated.unserved is None:
            keys = {v.name: self.keys.variant(v, self.journal.samples, sha256_of(target)) for v in variants}
            quantize = partial(self._quantize, calibrated=target)
            return {v.name: self._begin(v, keys[v.name], quantize, converting, calibrated=True) for v in variants}
        for variant in variants:
            self.journal.note(
                variant.name, f"calibrated by TFLiteConverter (engine tflite) because {calibrated.unserved}"
            )
        return {v.name: self._begin_alone(v, converting) for v in variants}

    def _settled(self, calibrated: Calibrated, request: Calibrate, converting: ThreadPoolExecutor) -> Calibrated:
        """With the converter's own ranges in the file, where they are asked for."""
        settle = calibrated.settling(request)
        if settle is None:
            return calibrated
        settled = converting.submit(self.children.converter.ask, settle, Settled, "settling of the ranges").result()
        findings = calibrated.findings
        if settled.kept is not None:
            findings += (f"the ranges may differ from TFLiteConverter's in their last digits: {settled.kept}",)
        seconds = (calibrated.calibration_s or 0.0) + settled.seconds
        return calibrated.model_copy(update={"findings": findings, "calibration_s": seconds})

    def _quantize(self, variant: Variant | None, calibrated: Path) -> Converted:
        assert variant is not None
        self.observer.stage(f"quantizing {variant.name}", 0, None)
        request = Quantize(calibrated=str(calibrated), variant=variant, target=str(self._file(variant.name)))
        return self.children.converter.ask(request, Converted, f"conversion of {variant.name}")

    def _convert(self, variant: Variant | None) -> Converted:
        if self.journal.model_format == "tflite":
            return self._take_tflite(variant)
        name = _name(variant)
        self.observer.stage(f"converting {name}", 0, None)
        if variant is not None and variant.exclude:
            raise ConversionError(
                f"{name}: exclude needs dataset.calibration.engine: litert and a model that it can serve"
            )
        self.source.ensure()
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
            raise ConversionError(needs_source([variant.name], str(source)))
        atomic.write(self._file(FLOAT32), source.read_bytes())
        return Converted()

    def _finish(self, begun: _Begun, improving: Improving | None) -> None:
        variant, name = begun.variant, _name(begun.variant)
        file = self._file(name)
        with self.journal.guarding(name, fatal=variant is None):
            if isinstance(begun.state, Built):
                built = begun.state
                self.journal.converted(name, file, built.converted)
            else:
                converted = begun.state.result()
                self.journal.converted(name, file, converted)
                corrected: Corrected | None = None
                notes: tuple[str, ...] = ()
                if variant is not None and improving is not None:
                    corrected, notes = improving.improve(variant, file, calibrated=begun.calibrated)
                made = converted.model_copy(update={"calibration_s": None})  # of this run, not of those to come
                built = Built(converted=made, corrected=corrected, notes=notes)
                self.cache.keep(begun.key, built, {_MODEL: file})
            for note in built.notes:
                self.journal.note(name, note)
            if built.corrected is not None:
                self.journal.corrected(name, file, built.corrected)
            self._audit(variant)

    def _audit(self, variant: Variant | None) -> None:
        name = _name(variant)
        request = AuditFile(
            name=name, model=str(self._file(name)), variant=variant, inputs=self.inputs, dataset=self.recipe.dataset
        )
        audited = self.cache.through(
            self.keys.audit(self.journal.file_sha256(name), variant, self.journal.samples),
            Audited,
            f"audit of {name}",
            lambda: self.children.runtime.ask(request, Audited, f"audit of {name}"),
        )
        self.journal.audited(name, audited)

    def _improving(self, converting: ThreadPoolExecutor) -> Improving | None:
        dataset = self.recipe.dataset
        if dataset is None or dataset.calibration is None:
            return None
        return Improving(self.inputs, dataset, self._file(FLOAT32), self.children, self.observer, converting)

    def _file(self, name: str) -> Path:
        return self.folder / f"{name}.tflite"

    def _progress(self, what: str) -> Callable[[int, int], None]:
        return lambda done, total: self.observer.stage(what, done, total)


def _name(variant: Variant | None) -> str:
    return variant.name if variant else FLOAT32
