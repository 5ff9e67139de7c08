"""The story of ``debug``: one int8 variant, taken apart layer by layer.

    recipe -> float model -> calibration -> int8 -> every activation compared -> trials -> advice

Activation ranges are those that ``convert`` would keep. Bias correction and other weights are left out but for their
own trials: what they mend hides where the error arises.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from pydantic import JsonValue

from tflite_ptq import atomic, pipeline
from tflite_ptq.debug_layers import sensitivity
from tflite_ptq.debug_result import DebugReport
from tflite_ptq.debug_trials import Trials, shown
from tflite_ptq.errors import ModelError, UsageError
from tflite_ptq.fingerprint import sha256_of
from tflite_ptq.improving import RANGE_METHODS, Improving
from tflite_ptq.measure.environment import environment
from tflite_ptq.observer import Observer
from tflite_ptq.recipe.dataset import RangeMethod
from tflite_ptq.recipe.loader import LoadedRecipe
from tflite_ptq.recipe.schema import FLOAT32, Recipe, Variant
from tflite_ptq.remaking import Remaking
from tflite_ptq.report import debug_files, outcome_folder
from tflite_ptq.report.debug_advice import advise
from tflite_ptq.result import RecipeInfo, TensorInfo
from tflite_ptq.worker.calibration_messages import Calibrate, Calibrated, Settled
from tflite_ptq.worker.children import Children, children_of
from tflite_ptq.worker.debug_messages import CompareLayers, LayersCompared, Yardstick
from tflite_ptq.worker.messages import Convert, Converted, Describe, Described, Opened, OpenSource, Quantize


@dataclass(frozen=True)
class Options:
    """What the command line asks: at most ``samples`` to compare on, at most ``layers`` to try one by one."""

    variant: str | None = None
    output: Path | None = None
    samples: int = 64
    layers: int = 100


def debug(loaded: LoadedRecipe, options: Options, observer: Observer) -> tuple[DebugReport, Path, tuple[str, ...]]:
    """The report, the folder it was written to, and the names of all files written.

    Raises ``UsageError`` where the recipe has no such int8 variant, ``ModelError`` where the model cannot be followed.
    """
    started = time.monotonic()
    recipe = loaded.recipe
    variant = _chosen(recipe, options.variant)
    folder = options.output or pipeline.output_folder(loaded, pipeline.Options()) / "debug"
    outcome_folder.prepare(folder)
    try:
        with children_of(folder / "log.txt", recipe.timeout_s) as children, ThreadPoolExecutor(1) as converting:
            story = _Story(recipe, variant, folder, children, observer, converting)
            report = story.follow(loaded, options)
    finally:
        atomic.sweep(folder)
    report = report.model_copy(update={"duration_s": time.monotonic() - started})
    report = report.model_copy(update={"advice": advise(report)})
    models = (f"{FLOAT32}.tflite", f"{variant.name}.tflite")
    return report, folder, (*models, *debug_files.write(report, folder))


def _chosen(recipe: Recipe, name: str | None) -> Variant:
    able = [variant for variant in recipe.variants if variant.scheme == "int8"]
    names = ", ".join(variant.name for variant in able) or "none"
    if name is None:
        if not able:
            raise UsageError(f"debug: recipe '{recipe.name}' has no variant of scheme int8; add int8 to its variants")
        return able[0]
    found = next((variant for variant in recipe.variants if variant.name == name), None)
    if found is None:
        raise UsageError(f"--variant {name}: the recipe has no such variant; its int8 variants are: {names}")
    if found.scheme != "int8":
        raise UsageError(
            f"--variant {name}: is of scheme {found.scheme}, and single layers stay float in int8 models only; "
            f"int8 variants of the recipe: {names}"
        )
    return found


@dataclass(frozen=True)
class _Ranges:
    """``calibrated``, a float file that holds activation ranges by ``method``."""

    method: RangeMethod
    calibrated: Path
    auto_tried: tuple[str, ...] = ()
    """The methods among which ``method: auto`` found this one."""


@dataclass(frozen=True)
class _Story:
    recipe: Recipe
    variant: Variant
    folder: Path
    children: Children
    observer: Observer
    converting: ThreadPoolExecutor

    def follow(self, loaded: LoadedRecipe, options: Options) -> DebugReport:
        dataset = self.recipe.dataset
        if dataset is None or dataset.calibration is None:
            raise UsageError("debug: int8 needs samples; add dataset.calibration to the recipe")
        runtime = self.children.runtime
        reference, inputs = self._float_model()
        calibrated = self.children.work / "calibrated.tflite"
        calibrate = Calibrate(model=str(reference), inputs=inputs, dataset=dataset, target=str(calibrated))
        done = runtime.ask(calibrate, Calibrated, "calibration", self._progress("calibrating"))
        if done.unserved is not None:
            raise ModelError(f"{self.recipe.model.path}: its layers cannot be followed because {done.unserved}")
        if (settle := done.settling(calibrate)) is not None:
            self.children.converter.ask(settle, Settled, "settling of the ranges")
        ranges = _Ranges(dataset.calibration.first_method, calibrated)
        remaking = Remaking(inputs, dataset, reference, self.children, self.observer, self.converting)
        ranges = self._auto_ranges(remaking, ranges)
        quantized = self.folder / f"{self.variant.name}.tflite"
        self._quantize(ranges.calibrated, self.variant, quantized)
        followed = self.children.work / "integer-io.tflite"
        self._quantize(ranges.calibrated, self.variant.model_copy(update={"io": "int8"}), followed)
        yardstick = Yardstick(reference=str(reference), inputs=inputs, dataset=dataset, samples=options.samples)
        self.observer.stage("comparing activations", 0, None)
        request = CompareLayers(yardstick=yardstick, model=str(quantized), followed=str(followed))
        compared = runtime.ask(request, LayersCompared, "comparison of the activations")
        trials = Trials(
            self.children, self.variant, ranges.calibrated, yardstick, compared.whole, self.observer, remaking
        )
        in_float = tuple(n for one in compared.layers if one.in_float for n in one.outputs)
        layers = sensitivity(trials, compared.layers, compared.computed, in_float, options.layers)
        return DebugReport(
            recipe=RecipeInfo(
                name=self.recipe.name, path=str(loaded.path), sha256=loaded.sha256, overrides=loaded.overrides
            ),
            environment=environment(),
            model=self.recipe.model.path,
            model_sha256=sha256_of(Path(self.recipe.model.path)),
            variant=self.variant.name,
            entry=_entry(self.variant),
            samples=compared.samples,
            subset=compared.subset,
            method=shown(ranges.method),
            auto_tried=ranges.auto_tried,
            whole=compared.whole,
            inputs=compared.inputs,
            layers=layers,
            exclusions=trials.exclusions(layers),
            methods=trials.methods(dataset.calibration, ranges.method),
            weights=trials.weights(None if ranges.method == dataset.calibration.first_method else ranges.method)
            if compared.subset == "evaluation"
            else (),  # calibration samples made them, and would flatter them
            correction=trials.correction(quantized),
            duration_s=0.0,
        )

    def _float_model(self) -> tuple[Path, tuple[TensorInfo, ...]]:
        self.observer.stage("opening the model", 0, None)
        model, target = self.recipe.model, self.folder / f"{FLOAT32}.tflite"
        described = self.children.runtime.ask(Describe(model=model), Described, "describe the model")
        if described.kind == "tflite":
            if described.quantized:
                raise ModelError(
                    f"{model.path}: the model is already quantized ({described.quantized}); name the float model it "
                    "was made from"
                )
            atomic.write(target, Path(model.path).read_bytes())
            return target, described.inputs or ()
        request = OpenSource(model=model, folder=str(self.children.exported))
        opened = self.children.converter.ask(request, Opened, "open the model")
        self.observer.stage(f"converting {FLOAT32}", 0, None)
        convert = Convert(
            saved_model=str(self.children.exported),
            variant=None,
            inputs=opened.inputs,
            dataset=None,
            target=str(target),
        )
        self.children.converter.ask(convert, Converted, f"conversion of {FLOAT32}")
        return target, opened.inputs

    def _auto_ranges(self, remaking: Remaking, ranges: _Ranges) -> _Ranges:
        """What ``convert`` would keep in the place of ``ranges``."""
        improving = Improving(remaking)
        if not improving.chooses_ranges(self.variant):
            return ranges
        tried = self.children.work / "tried.tflite"
        self._quantize(ranges.calibrated, self.variant, tried)
        method, calibrated = improving.chosen_ranges(self.variant, tried) or (ranges.method, ranges.calibrated)
        return _Ranges(method, calibrated, (shown(ranges.method), *map(shown, RANGE_METHODS)))

    def _quantize(self, calibrated: Path, variant: Variant, target: Path) -> None:
        self.observer.stage(f"quantizing {variant.name}", 0, None)
        request = Quantize(calibrated=str(calibrated), variant=variant, target=str(target))
        self.children.converter.ask(request, Converted, f"conversion of {variant.name}")

    def _progress(self, what: str) -> Callable[[int, int], None]:
        return lambda done, total: self.observer.stage(what, done, total)


def _entry(variant: Variant) -> dict[str, JsonValue]:
    """The variant as a recipe writes it: what differs from the defaults."""
    given: dict[str, JsonValue] = variant.model_dump(mode="json", exclude_defaults=True)
    short = Variant.model_validate({"scheme": variant.scheme, "io": variant.io})
    return {key: value for key, value in given.items() if (key, value) != ("name", short.name)}
