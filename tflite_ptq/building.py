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
from tflite_ptq.errors import ConversionError
from tflite_ptq.fingerprint import sha256_of
from tflite_ptq.improving import Improving
from tflite_ptq.model.tflite_source import needs_source, shares_calibration
from tflite_ptq.opening import Source
from tflite_ptq.recipe.schema import FLOAT32, Variant
from tflite_ptq.remaking import Remaking
from tflite_ptq.report.notes import by_plain_kernels
from tflite_ptq.result import Frozen, TensorInfo
from tflite_ptq.run_context import RunContext
from tflite_ptq.worker.calibration_messages import Calibrate, Calibrated, Corrected, Examine, Examined, Settled
from tflite_ptq.worker.messages import Audited, AuditFile, Convert, Converted, Quantize

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
    ranged: Path | None = None
    """The float file with the ranges of our own calibrator that it is quantized from, if it is."""


@dataclass(frozen=True)
class Building:
    """Builds the variants of a recipe. Conversions run in the converter while the runtime calibrates and audits."""

    run: RunContext
    inputs: tuple[TensorInfo, ...]
    source: Source

    @property
    def _has_source(self) -> bool:
        """Whether there is a model that TFLiteConverter can read."""
        return self.run.journal.model_format != "tflite"

    def build(self, converting: ThreadPoolExecutor) -> None:
        """Every file of the run; what fails costs its variant, but for float32, the yardstick."""
        started = time.monotonic()
        shared = tuple(v for v in self.run.variants if shares_calibration(v, self.run.recipe.dataset))
        float32 = self._begin(None, self.run.keys.float32(), self._convert, converting)
        begun = {v.name: self._begin_alone(v, converting) for v in self.run.variants if v not in shared}
        self._finish(float32, None)
        self._examine()
        if shared:
            begun |= self._quantize_all(shared, converting)
        improving = self._improving(converting)
        for variant in self.run.variants:
            self._finish(begun[variant.name], improving)
        self.run.journal.lasted("convert", time.monotonic() - started)

    def _begin(
        self,
        variant: Variant | None,
        key: Key,
        convert: Callable[[Variant | None], Converted],
        converting: ThreadPoolExecutor,
        *,
        ranged: Path | None = None,
    ) -> _Begun:
        name = _name(variant)
        built = self.run.cache.look(key, Built, name, {_MODEL: self.run.file(name)})
        return _Begun(variant, key, built or converting.submit(convert, variant), ranged)

    def _begin_alone(self, variant: Variant, converting: ThreadPoolExecutor) -> _Begun:
        """Without ranges that others share."""
        return self._begin(
            variant, self.run.keys.variant(variant, self.run.journal.samples, None), self._convert, converting
        )

    def _examine(self) -> None:
        dataset = self.run.recipe.dataset
        if dataset is None or not any(variant.needs_calibration for variant in self.run.variants):
            return
        request = Examine(model=str(self.run.file(FLOAT32)), inputs=self.inputs, dataset=dataset)
        self.run.observer.stage("examining the calibration samples", 0, None)
        self.run.journal.examined(
            self.run.cache.through(
                self.run.keys.examination(self.run.journal.samples),
                Examined,
                "examination",
                lambda: self.run.children.runtime.ask(request, Examined, "examination of the samples"),
            )
        )

    def _quantize_all(self, variants: tuple[Variant, ...], converting: ThreadPoolExecutor) -> dict[str, _Begun]:
        """Calibrates once, and quantizes with the same ranges all variants that can share them."""
        dataset = self.run.recipe.dataset
        assert dataset is not None
        target = self.run.children.work / "calibrated.tflite"
        request = Calibrate(model=str(self.run.file(FLOAT32)), inputs=self.inputs, dataset=dataset, target=str(target))
        key = self.run.keys.calibration(self.run.journal.samples)
        calibrated = self.run.cache.look(key, Calibrated, "calibration", {_MODEL: target})
        if calibrated is None:
            converting.submit(self.run.children.converter.warm_up)  # other ranges make other variants
            calibrated = self.run.children.runtime.ask(
                request, Calibrated, "calibration", self.run.progress("calibrating")
            )
            calibrated = self._settled(calibrated, request, converting)
            self.run.cache.keep(key, calibrated.model_copy(update={"calibration_s": None}), {_MODEL: target})
        self.run.journal.calibrated(calibrated)
        if calibrated.refused is not None:
            for variant in variants:
                self.run.journal.note(variant.name, by_plain_kernels("calibrated", calibrated.refused))
        if calibrated.unserved is None:
            keys = {v.name: self.run.keys.variant(v, self.run.journal.samples, sha256_of(target)) for v in variants}
            quantize = partial(self._quantize, calibrated=target)
            return {v.name: self._begin(v, keys[v.name], quantize, converting, ranged=target) for v in variants}
        # Of a .tflite it cannot calibrate anything; the error that follows says what to do.
        instead = "calibrated by TFLiteConverter (engine tflite)" if self._has_source else "not calibrated"
        for variant in variants:
            self.run.journal.note(variant.name, f"{instead} because {calibrated.unserved}")
        return {v.name: self._begin_alone(v, converting) for v in variants}

    def _settled(self, calibrated: Calibrated, request: Calibrate, converting: ThreadPoolExecutor) -> Calibrated:
        """With the converter's own ranges in the file, where they are asked for."""
        settle = calibrated.settling(request)
        if settle is None:
            return calibrated
        settled = converting.submit(self.run.children.converter.ask, settle, Settled, "settling of the ranges").result()
        findings = calibrated.findings
        if settled.kept is not None:
            findings += (f"the ranges may differ from TFLiteConverter's in their last digits: {settled.kept}",)
        seconds = (calibrated.calibration_s or 0.0) + settled.seconds
        return calibrated.model_copy(update={"findings": findings, "calibration_s": seconds})

    def _quantize(self, variant: Variant | None, calibrated: Path) -> Converted:
        assert variant is not None
        self.run.observer.stage(f"quantizing {variant.name}", 0, None)
        request = Quantize(calibrated=str(calibrated), variant=variant, target=str(self.run.file(variant.name)))
        return self.run.children.converter.ask(request, Converted, f"conversion of {variant.name}")

    def _convert(self, variant: Variant | None) -> Converted:
        if not self._has_source:
            return self._take_tflite(variant)
        name = _name(variant)
        self.run.observer.stage(f"converting {name}", 0, None)
        if variant is not None and variant.exclude:
            raise ConversionError(
                f"{name}: exclude needs dataset.calibration.engine: litert and a model that it can serve"
            )
        self.source.ensure()
        request = Convert(
            saved_model=str(self.run.children.exported),
            variant=variant,
            inputs=self.inputs,
            dataset=self.run.recipe.dataset,
            target=str(self.run.file(name)),
            yardstick=str(self.run.file(FLOAT32)) if variant else None,
        )
        return self.run.children.converter.ask(
            request, Converted, f"conversion of {name}", self.run.progress(f"calibrating {name}")
        )

    def _take_tflite(self, variant: Variant | None) -> Converted:
        source = Path(self.run.recipe.model.path)
        if variant is not None:
            raise ConversionError(needs_source([variant.name], str(source)))
        atomic.write(self.run.file(FLOAT32), source.read_bytes())
        return Converted()

    def _finish(self, begun: _Begun, improving: Improving | None) -> None:
        variant, name = begun.variant, _name(begun.variant)
        file = self.run.file(name)
        with self.run.journal.guarding(name, fatal=variant is None):
            if isinstance(begun.state, Built):
                built = begun.state
                self.run.journal.converted(name, file, built.converted)
            else:
                converted = begun.state.result()
                self.run.journal.converted(name, file, converted)
                corrected: Corrected | None = None
                notes: tuple[str, ...] = ()
                if variant is not None and improving is not None:
                    corrected, notes = improving.improve(variant, file, ranged=begun.ranged)
                made = converted.model_copy(update={"calibration_s": None})  # of this run, not of those to come
                built = Built(converted=made, corrected=corrected, notes=notes)
                self.run.cache.keep(begun.key, built, {_MODEL: file})
            for note in built.notes:
                self.run.journal.note(name, note)
            if built.corrected is not None:
                self.run.journal.corrected(name, file, built.corrected)
            self._audit(variant)

    def _audit(self, variant: Variant | None) -> None:
        name = _name(variant)
        request = AuditFile(
            name=name,
            model=str(self.run.file(name)),
            variant=variant,
            inputs=self.inputs,
            dataset=self.run.recipe.dataset,
        )
        audited = self.run.cache.through(
            self.run.keys.audit(self.run.journal.file_sha256(name), variant, self.run.journal.samples),
            Audited,
            f"audit of {name}",
            lambda: self.run.children.runtime.ask(request, Audited, f"audit of {name}"),
        )
        self.run.journal.audited(name, audited)

    def _improving(self, converting: ThreadPoolExecutor) -> Improving | None:
        dataset = self.run.recipe.dataset
        if dataset is None or dataset.calibration is None:
            return None
        return Improving(
            Remaking(self.inputs, dataset, self.run.file(FLOAT32), self.run.children, self.run.observer, converting)
        )


def _name(variant: Variant | None) -> str:
    return variant.name if variant else FLOAT32
