"""What a run has found so far, from which a report can be made at any moment."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from tflite_ptq.cache.keys import SampleHashes
from tflite_ptq.errors import DataError, UserError
from tflite_ptq.fingerprint import sha256_of
from tflite_ptq.measure.direction import higher_is_better, metric_keys
from tflite_ptq.recipe.gate import GateLimits
from tflite_ptq.recipe.loader import LoadedRecipe
from tflite_ptq.recipe.metric import Metric
from tflite_ptq.recipe.schema import FLOAT32, Variant
from tflite_ptq.report import files, gate
from tflite_ptq.report.notes import by_plain_kernels, notes_on
from tflite_ptq.report.units import counts
from tflite_ptq.result import (
    DatasetInfo,
    Environment,
    Latency,
    ModelInfo,
    RecipeInfo,
    Report,
    SkippedSample,
    VariantResult,
)
from tflite_ptq.worker.calibration_messages import Calibrated, Corrected, Examined
from tflite_ptq.worker.messages import Audited, Converted, Evaluation


class Journal:
    """Collects results by variant; the order of the report is float32, then the recipe's."""

    def __init__(
        self, loaded: LoadedRecipe, environment: Environment, variants: Sequence[Variant], *, benchmark: bool
    ) -> None:
        self._loaded = loaded
        self._benchmark = benchmark
        self._environment = environment
        self._variants: dict[str, VariantResult] = {
            name: VariantResult(name=name, scheme=scheme)
            for name, scheme in [(FLOAT32, FLOAT32), *((v.name, v.scheme) for v in variants)]
        }
        self._errors: list[str] = []
        self._warnings: list[str] = []
        self._cached: dict[str, None] = {}
        self._durations_s: dict[str, float] = {}
        self._model: ModelInfo | None = None
        self.dataset: DatasetInfo | None = None
        self.samples = SampleHashes()

    @property
    def model_format(self) -> str | None:
        """The source model's format, once it was opened."""
        return self._model.format if self._model else None

    @property
    def names(self) -> tuple[str, ...]:
        """All variants of the run, float32 first."""
        return tuple(self._variants)

    @property
    def usable(self) -> tuple[str, ...]:
        """The variants whose file was made and audited without an error."""
        return tuple(v.name for v in self._variants.values() if v.file is not None and v.error is None)

    def file_sha256(self, name: str) -> str:
        """The hash of a usable variant's file."""
        found = self._variants[name].sha256
        assert found is not None
        return found

    def metrics(self) -> tuple[Metric, ...]:
        """The recipe's metrics; top1 where it names none and the evaluation samples are labelled."""
        asked = self._loaded.recipe.benchmark.accuracy.metrics
        labelled = self.dataset is not None and self.dataset.labelled
        return asked or ((Metric(name="top1"),) if labelled else ())

    def opened(self, model: ModelInfo, dataset: DatasetInfo | None, samples: SampleHashes) -> None:
        """The source was opened and the dataset scanned."""
        self._model, self.dataset, self.samples = model, dataset, samples

    def from_cache(self, step: str) -> None:
        """A step's result came from the cache."""
        self._cached[step] = None

    def warn(self, text: str) -> None:
        """A warning on the run as a whole, told once."""
        if text not in self._warnings:
            self._warnings.append(text)

    def lasted(self, stage: str, seconds: float) -> None:
        """A stage ended."""
        self._durations_s[stage] = round(seconds, 3)

    def converted(self, name: str, file: Path, converted: Converted) -> None:
        """A variant's file is in its place."""
        self._update(name, file=file.name, sha256=sha256_of(file), size_bytes=file.stat().st_size)
        if converted.calibration_s is not None:
            self._durations_s["calibrate"] = round(self._durations_s.get("calibrate", 0.0) + converted.calibration_s, 3)
        self._skipped(converted.skipped)
        if converted.substituted:
            found = counts(dict(sorted(Counter(converted.substituted).items())))
            self._note(name, f"without an integer kernel, and written with operators that have one: {found}")

    def calibrated(self, calibrated: Calibrated) -> None:
        """The float model was calibrated for all variants that share its ranges."""
        if calibrated.calibration_s is not None:
            self._durations_s["calibrate"] = round(calibrated.calibration_s, 3)
        self._skipped(calibrated.skipped)
        self._found(calibrated.findings)

    def examined(self, examined: Examined) -> None:
        """The calibration samples were looked at."""
        self._found(examined.findings)

    def corrected(self, name: str, file: Path, corrected: Corrected) -> None:
        """A variant's biases were corrected, or it was left as it is."""
        if corrected.unserved is not None:
            self._note(name, f"no bias correction: {corrected.unserved}")
            return
        if corrected.refused is not None:
            self._note(name, by_plain_kernels("bias correction tried", corrected.refused))
        self._update(name, correction=corrected.correction, sha256=sha256_of(file), size_bytes=file.stat().st_size)

    def audited(self, name: str, audited: Audited) -> None:
        """A variant's file was audited and invoked."""
        self._update(name, audit=audited.audit)
        self._note(name, *audited.findings)

    def evaluated(self, evaluation: Evaluation) -> None:
        """Accuracy and fidelity of some variants, float32 among them."""
        for name, found in evaluation.models.items():
            if found.error is not None:
                self._fail_variant(name, found.error)
                continue
            self._update(
                name,
                accuracy=found.accuracy or None,
                classes=found.classes,
                fidelity=None if name == FLOAT32 else found.fidelity,
            )
            self._note(name, *found.notes)
            for reason in found.failed:
                self._without(reason)
        self._skipped(evaluation.skipped)

    def timed(self, outcomes: Iterable[tuple[str, Latency | UserError]], warnings: Sequence[str]) -> None:
        """The configurations were timed, or some of them; ``warnings`` are of the machine."""
        for name, found in outcomes:
            if isinstance(found, Latency):
                self._update(name, latency=(*(self._variants[name].latency or ()), found))
            else:
                self._fail_variant(name, str(found))
        self._warnings += warnings

    def note(self, name: str, text: str) -> None:
        """A note on one variant."""
        self._note(name, text)

    def note_all(self, text: str) -> None:
        """A note on every variant."""
        for name in self._variants:
            self._note(name, text)

    def fail(self, message: str) -> None:
        """The run stopped."""
        self._errors.append(message)

    def stopped(self, cause: BaseException, folder: Path) -> None:
        """The run stopped: writes a report of what it finished in ``folder``, if that is anything."""
        if isinstance(cause, UserError):
            self.fail(str(cause))
        else:
            what = "interrupted" if isinstance(cause, KeyboardInterrupt) else "stopped by a bug in tflite-ptq"
            self.fail(f"{what}; what was finished is kept")
        for name in self._variants:
            self._left(name, folder / f"{name}.tflite")
        if any(v.file is not None for v in self._variants.values()):
            with suppress(UserError):  # a full disk, say: why the run stopped is what the user must read
                files.write(self.report(), folder)

    @contextmanager
    def guarding(self, name: str, *, fatal: bool = False) -> Iterator[None]:
        """A user's error inside the block costs this variant; an unusable dataset, or ``fatal``, stops the run."""
        try:
            yield
        except UserError as error:
            if fatal or isinstance(error, DataError):
                raise
            self._fail_variant(name, str(error))

    def report(self) -> Report:
        """The report of all that was found."""
        recipe = self._loaded.recipe
        variants = tuple(v.model_copy(update={"notes": (*v.notes, *notes_on(v))}) for v in self._variants.values())
        gates = {name: self._judged(limits) for name, limits in recipe.gate.items() if name in self._variants}
        metrics = self.metrics()
        direction = {
            key: higher_is_better(metric.name) for key, metric in zip(metric_keys(metrics), metrics, strict=True)
        }
        checks = gate.judge(gates, variants, direction)
        return Report(
            recipe=RecipeInfo(
                name=recipe.name,
                path=str(self._loaded.path),
                sha256=self._loaded.sha256,
                overrides=self._loaded.overrides,
                text=self._loaded.text,
            ),
            environment=self._environment,
            model=self._model,
            dataset=self.dataset,
            variants=variants,
            gate=checks,
            status=gate.status(variants, checks, self._errors),
            errors=tuple(self._errors),
            warnings=tuple(self._warnings),
            cached=tuple(self._cached),
            durations_s=self._durations_s,
        )

    def _left(self, name: str, file: Path) -> None:
        """The converter may have been ahead. Before the source was opened a file is an earlier run's."""
        if self._model is None or self._variants[name].file is not None or not file.is_file():
            return
        self._update(name, file=file.name, sha256=sha256_of(file), size_bytes=file.stat().st_size)
        self._note(name, "not audited: the run stopped before")

    def _without(self, reason: str) -> None:
        """A metric could not be had: an error where the recipe asks for it, not where it was tried as the default."""
        if not self._loaded.recipe.benchmark.accuracy.metrics:
            self.warn(f"{reason}; nothing was measured for the default metric: name others, or labels: none")
        elif reason not in self._errors:
            self._errors.append(reason)

    def _judged(self, limits: GateLimits) -> GateLimits:
        """Without a benchmark only the limits on the file itself: the others were left out on purpose."""
        return limits if self._benchmark else GateLimits(size=limits.size, fully_integer=limits.fully_integer)

    def _fail_variant(self, name: str, message: str) -> None:
        self._update(name, error=message)
        self._errors.append(message)

    def _update(self, name: str, **fields: object) -> None:
        self._variants[name] = self._variants[name].model_copy(update=fields)

    def _note(self, name: str, *notes: str) -> None:
        self._update(name, notes=(*self._variants[name].notes, *notes))

    def _found(self, findings: Sequence[str]) -> None:
        if self.dataset is not None:
            self.dataset = self.dataset.model_copy(update={"findings": (*self.dataset.findings, *findings)})

    def _skipped(self, samples: Sequence[SkippedSample]) -> None:
        if self.dataset is not None:
            known = dict.fromkeys((*self.dataset.skipped, *samples))
            self.dataset = self.dataset.model_copy(update={"skipped": tuple(known)})
