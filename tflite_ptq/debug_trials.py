"""What ``debug`` tries on one calibrated model as a whole: sets of layers in float, methods, correction."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tflite_ptq.debug_result import Closeness, CorrectionTrial, ExclusionTrial, LayerDebug, MethodTrial, WeightsTrial
from tflite_ptq.errors import WorkerCrash
from tflite_ptq.observer import Observer
from tflite_ptq.recipe.dataset import Calibration, Percentile, RangeMethod
from tflite_ptq.recipe.schema import WEIGHTS_TRIED, Variant, Weights
from tflite_ptq.remaking import ITS_OWN, Remaking
from tflite_ptq.report.debug_advice import best_exclusion, gain_db
from tflite_ptq.worker.calibration_messages import Calibrate, Calibrated, Correct, Corrected
from tflite_ptq.worker.children import Children
from tflite_ptq.worker.debug_messages import (
    CompareOutputs,
    OutputsCompared,
    Yardstick,
)
from tflite_ptq.worker.messages import Converted, Quantize

METHODS: tuple[RangeMethod, ...] = ("minmax", "mse", "entropy", Percentile(percentile=99.99))

_MOST_EXCLUDED = 5
_LEAST_SHARE = 0.01
_NOISE_DB = 0.3
"""A layer whose return to int8 costs less is not worth its two conversions between int8 and float."""


def shown(method: RangeMethod) -> str:
    """A method as a recipe writes it."""
    return f"{{percentile: {method.percentile:g}}}" if isinstance(method, Percentile) else method


@dataclass(frozen=True)
class Trials:
    """Trials on ``calibrated``, the float file with its ranges; ``whole`` is the variant's own closeness."""

    children: Children
    variant: Variant
    calibrated: Path
    yardstick: Yardstick
    whole: Closeness
    observer: Observer
    remaking: Remaking

    def exclusions(self, ranked: Sequence[LayerDebug]) -> tuple[ExclusionTrial, ...]:
        """The worst layers left in float together, one more each time; last the best set less what it can spare.

        Those that alone make the outputs NaN or infinite go together: none of them may stay.
        """
        worst = [layer for layer in ranked if layer.breaks or (layer.error_share or 0.0) >= _LEAST_SHARE]
        candidates = [layer.exclude for layer in worst if layer.exclude is not None]
        least = max(1, sum(layer.breaks for layer in worst if layer.exclude is not None))
        most = min(len(candidates), least - 1 + _MOST_EXCLUDED)
        trials: list[ExclusionTrial] = []
        for count in range(least, most + 1):
            self.observer.stage("leaving the worst layers in float", count - least, most - least + 1)
            trials.append(self._exclusion(tuple(candidates[:count])))
        best = best_exclusion(trials, self.whole)
        if best is not None and len(best.exclude) > 1:
            pruned = best
            for pattern in best.exclude:
                fewer = (
                    self._exclusion(tuple(p for p in pruned.exclude if p != pattern)) if pruned.exclude[1:] else None
                )
                loss = gain_db(fewer.closeness, pruned.closeness) if fewer else None
                if fewer is not None and loss is not None and loss > -_NOISE_DB:
                    pruned = fewer
            if pruned != best and pruned not in trials:
                trials.append(pruned)
        return tuple(trials)

    def methods(self, settings: Calibration, used: RangeMethod) -> tuple[MethodTrial, ...]:
        """The variant with each calibration method but that ``used``."""
        trials = []
        others = [method for method in METHODS if method != used]
        for done, method in enumerate(others):
            what = f"calibration by {shown(method)}"
            self.observer.stage("trying calibration methods", done, len(others))
            calibration = settings.model_copy(update={"engine": "litert", "method": method})
            calibrated = self.file("method-calibrated")
            request = Calibrate(
                model=self.yardstick.reference,
                inputs=self.yardstick.inputs,
                dataset=self.yardstick.dataset.model_copy(update={"calibration": calibration}),
                target=str(calibrated),
            )

            def quantized(request: Calibrate = request, calibrated: Path = calibrated, what: str = what) -> None:
                self.children.runtime.ask(request, Calibrated, what)
                self._quantize(calibrated, self.variant, self.file("method"), what)

            trials.append(MethodTrial(method=shown(method), closeness=self._tried("method", quantized)))
        return tuple(trials)

    def weights(self, method: RangeMethod | None) -> tuple[WeightsTrial, ...]:
        """The variant with other weights: by the recipe's own way, and by those that ``convert`` tries by default.

        ``method``: that of the activation ranges; ``None``: the dataset's.
        """
        trials: dict[Weights, WeightsTrial] = {}
        for asked in dict.fromkeys((*self.variant.weightings, *WEIGHTS_TRIED)):
            weights, what = asked, f"weights {asked.in_words}"
            try:
                made = self.remaking.prepare(self.variant, asked, (method,), ranged=self.calibrated)
                weights = made.prepared.done_of(asked)
                if weights.plain or weights in trials:
                    continue
                self._quantize(made.ranged[0], self.variant, self.file("weights"), what)
                closeness = self.compare({"weights": self.file("weights")}, what)["weights"]
            except ITS_OWN as error:
                closeness = Closeness(error=str(error))
            written = asked if asked == self.variant.weights else weights
            trials[weights] = WeightsTrial(
                way=weights.in_words,
                weights=written.model_dump(mode="json", exclude_defaults=True),
                closeness=closeness,
            )
        return tuple(trials.values())

    def correction(self, quantized: Path) -> CorrectionTrial:
        """The variant after bias correction, as ``auto`` would do it where the recipe has it off."""
        self.observer.stage("trying bias correction", 0, None)
        setting = self.variant.correction
        target = self.file("corrected")
        shutil.copyfile(quantized, target)
        request = Correct(
            reference=self.yardstick.reference,
            model=str(target),
            methods=(setting,) if setting in ("one-pass", "sequential") else ("sequential", "one-pass"),
            inputs=self.yardstick.inputs,
            dataset=self.yardstick.dataset,
        )
        try:
            corrected = self.children.runtime.ask(request, Corrected, "bias correction")
        except ITS_OWN as error:
            return CorrectionTrial(setting=setting, unserved=str(error))
        if corrected.correction is None:
            return CorrectionTrial(setting=setting, unserved=corrected.unserved)
        closeness = self.compare({"corrected": target}, "bias correction")["corrected"]
        return CorrectionTrial(setting=setting, method=corrected.correction.method, closeness=closeness)

    def _exclusion(self, patterns: tuple[str, ...]) -> ExclusionTrial:
        variant = self.variant.model_copy(update={"exclude": (*self.variant.exclude, *patterns)})
        quantize: Callable[[], None] = lambda: self._quantize(  # noqa: E731
            self.calibrated, variant, self.file("excluded"), "conversion with layers in float"
        )
        return ExclusionTrial(exclude=patterns, closeness=self._tried("excluded", quantize))

    def _quantize(self, calibrated: Path, variant: Variant, target: Path, what: str) -> None:
        request = Quantize(calibrated=str(calibrated), variant=variant, target=str(target))
        self.children.converter.ask(request, Converted, what)

    def _tried(self, name: str, make: Callable[[], None]) -> Closeness:
        try:
            make()
        except ITS_OWN as error:
            return Closeness(error=str(error))
        return self.compare({name: self.file(name)}, name)[name]

    def compare(self, files: dict[str, Path], what: str) -> dict[str, Closeness]:
        """How close each of the ``files`` is to float32, by name."""
        request = CompareOutputs(yardstick=self.yardstick, models={name: str(file) for name, file in files.items()})
        try:
            return self.children.runtime.ask(request, OutputsCompared, f"comparison of {what}").models
        except WorkerCrash as error:
            return {name: Closeness(error=str(error)) for name in files}

    def file(self, name: str) -> Path:
        """Where a trial's file lies while it is looked at."""
        return self.children.work / f"{name}.tflite"
