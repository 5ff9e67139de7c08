"""What ``debug`` tries on one calibrated model: each layer alone, each spared, sets of layers, methods, correction."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from tflite_ptq.debug_result import Closeness, CorrectionTrial, ExclusionTrial, LayerDebug, MethodTrial
from tflite_ptq.errors import ConversionError, MeasurementError, WorkerCrash
from tflite_ptq.observer import Observer
from tflite_ptq.recipe.dataset import Calibration, Percentile, RangeMethod
from tflite_ptq.recipe.schema import Variant
from tflite_ptq.report.debug_advice import best_exclusion, gain_db
from tflite_ptq.worker.calibration_messages import Calibrate, Calibrated, Correct, Corrected
from tflite_ptq.worker.children import Children
from tflite_ptq.worker.debug_messages import (
    ComparedLayer,
    CompareOutputs,
    OutputsCompared,
    QuantizeParts,
    Yardstick,
)
from tflite_ptq.worker.messages import Converted, Quantize

METHODS: tuple[RangeMethod, ...] = ("minmax", "mse", "entropy", Percentile(percentile=99.99))

_MOST_EXCLUDED = 5
_LEAST_SHARE = 0.01
_NOISE_DB = 0.3
"""A layer whose return to int8 costs less is not worth its two conversions between int8 and float."""
_ITS_OWN = (ConversionError, MeasurementError, WorkerCrash)
"""What costs one trial and not the run."""


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

    def sensitivity(
        self, layers: Sequence[ComparedLayer], computed: Sequence[str], excluded: Sequence[str], most: int
    ) -> tuple[LayerDebug, ...]:
        """All layers, ranked by the noise that each brings to the outputs when it alone is quantized; first those that
        make them NaN or infinite.

        ``computed``: output tensors of all operators; ``excluded``: those that the recipe leaves in float. Only the
        ``most`` suspicious layers are tried; those not tried come last.
        """
        by_suspicion = sorted(layers, key=lambda one: -one.suspicion)
        trying = [one for one in by_suspicion if one.layer.skipped is None][:most]
        tried: dict[str, LayerDebug] = {}
        with ThreadPoolExecutor(max_workers=1) as converting:

            def start(one: ComparedLayer) -> tuple[Future[Closeness | None], ...]:
                others = tuple(name for name in computed if name not in one.outputs)
                return (
                    # Float inputs and outputs: what they lose is not this layer's.
                    converting.submit(self._part, "alone", others, self.variant.model_copy(update={"io": "float32"})),
                    converting.submit(self._part, "spared", (*excluded, *one.outputs), self.variant),
                )

            try:
                # The next layer is converted while this one is compared; their files take turns.
                ahead = start(trying[0]) if trying else ()
                for done, one in enumerate(trying):
                    self.observer.stage("trying each layer", done, len(trying))
                    failed = [future.result() for future in ahead]
                    files = {name: self._file(f"{name}-compared") for name in ("alone", "spared")}
                    for (name, file), failure in zip(files.items(), failed, strict=True):
                        if failure is None:
                            self._file(name).replace(file)
                    if done + 1 < len(trying):
                        ahead = start(trying[done + 1])
                    good = [name for name, failure in zip(files, failed, strict=True) if failure is None]
                    found = self._compare({name: files[name] for name in good}, f"layer {one.layer.name}")
                    alone, spared = (failure or found[name] for name, failure in zip(files, failed, strict=True))
                    tried[one.layer.name] = one.layer.model_copy(
                        update={"alone": alone, "spared": spared, "gain_db": gain_db(spared, self.whole)}
                    )
            except BaseException:
                # The converting thread waits for the child's answer; without the child it ends.
                converting.shutdown(wait=False, cancel_futures=True)
                self.children.converter.kill()
                raise
        untried = f"not among the {most} most suspicious layers; raise --layers"
        rest = [one.layer for one in by_suspicion if one.layer.name not in tried]
        return (
            *_ranked(list(tried.values())),
            *(layer.model_copy(update={"skipped": layer.skipped or untried}) for layer in rest),
        )

    def exclusions(self, ranked: Sequence[LayerDebug]) -> tuple[ExclusionTrial, ...]:
        """The worst layers left in float together, one more each time; last the best set less what it can spare.

        Those that alone make the outputs NaN or infinite go together: none of them may stay.
        """
        worst = [layer for layer in ranked if _breaks(layer) or (layer.error_share or 0.0) >= _LEAST_SHARE]
        candidates = [layer.exclude for layer in worst if layer.exclude is not None]
        least = max(1, sum(_breaks(layer) for layer in worst if layer.exclude is not None))
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
            calibrated = self._file("method-calibrated")
            request = Calibrate(
                model=self.yardstick.reference,
                inputs=self.yardstick.inputs,
                dataset=self.yardstick.dataset.model_copy(update={"calibration": calibration}),
                target=str(calibrated),
            )

            def quantized(request: Calibrate = request, calibrated: Path = calibrated, what: str = what) -> None:
                self.children.runtime.ask(request, Calibrated, what)
                self._quantize(calibrated, self.variant, self._file("method"), what)

            trials.append(MethodTrial(method=shown(method), closeness=self._tried("method", quantized)))
        return tuple(trials)

    def correction(self, quantized: Path) -> CorrectionTrial:
        """The variant after bias correction, as ``auto`` would do it where the recipe has it off."""
        self.observer.stage("trying bias correction", 0, None)
        setting = self.variant.correction
        target = self._file("corrected")
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
        except _ITS_OWN as error:
            return CorrectionTrial(setting=setting, unserved=str(error))
        if corrected.correction is None:
            return CorrectionTrial(setting=setting, unserved=corrected.unserved)
        closeness = self._compare({"corrected": target}, "bias correction")["corrected"]
        return CorrectionTrial(setting=setting, method=corrected.correction.method, closeness=closeness)

    def _part(self, name: str, excluded: tuple[str, ...], variant: Variant) -> Closeness | None:
        request = QuantizeParts(
            calibrated=str(self.calibrated), variant=variant, excluded=excluded, target=str(self._file(name))
        )
        try:
            self.children.converter.ask(request, Converted, f"conversion with one layer {name}")
        except _ITS_OWN as error:
            return Closeness(error=str(error))
        return None

    def _exclusion(self, patterns: tuple[str, ...]) -> ExclusionTrial:
        variant = self.variant.model_copy(update={"exclude": (*self.variant.exclude, *patterns)})
        quantize: Callable[[], None] = lambda: self._quantize(  # noqa: E731
            self.calibrated, variant, self._file("excluded"), "conversion with layers in float"
        )
        return ExclusionTrial(exclude=patterns, closeness=self._tried("excluded", quantize))

    def _quantize(self, calibrated: Path, variant: Variant, target: Path, what: str) -> None:
        request = Quantize(calibrated=str(calibrated), variant=variant, target=str(target))
        self.children.converter.ask(request, Converted, what)

    def _tried(self, name: str, make: Callable[[], None]) -> Closeness:
        try:
            make()
        except _ITS_OWN as error:
            return Closeness(error=str(error))
        return self._compare({name: self._file(name)}, name)[name]

    def _compare(self, files: dict[str, Path], what: str) -> dict[str, Closeness]:
        request = CompareOutputs(yardstick=self.yardstick, models={name: str(file) for name, file in files.items()})
        try:
            return self.children.runtime.ask(request, OutputsCompared, f"comparison of {what}").models
        except WorkerCrash as error:
            return {name: Closeness(error=str(error)) for name in files}

    def _file(self, name: str) -> Path:
        return self.children.work / f"{name}.tflite"


def _ranked(layers: list[LayerDebug]) -> list[LayerDebug]:
    total = sum((layer.alone.noise or 0.0) if layer.alone else 0.0 for layer in layers)

    def noise(layer: LayerDebug) -> float | None:
        return layer.alone.noise if layer.alone else None

    shared = [
        layer.model_copy(update={"error_share": found / total})
        if (found := noise(layer)) is not None and total > 0
        else layer
        for layer in layers
    ]
    return sorted(shared, key=lambda layer: (not _breaks(layer), -(layer.error_share or 0.0), -(layer.gain_db or 0.0)))


def _breaks(layer: LayerDebug) -> bool:
    """Whether it alone, quantized, makes the outputs NaN or infinite."""
    return layer.alone is not None and layer.alone.non_finite
