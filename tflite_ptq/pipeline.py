"""The story of a run, top to bottom: the only place that knows every stage.

    recipe -> source model -> samples -> float model -> variants -> audit -> measurement -> gate -> report

The parent process stays light: two children do the work side by side, the converter (TensorFlow) and the runtime
(LiteRT). What fails costs its one variant; what was finished is kept and reported.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from tflite_ptq import atomic
from tflite_ptq.building import Building
from tflite_ptq.errors import UsageError, WorkerCrash
from tflite_ptq.fingerprint import sha256_of
from tflite_ptq.improving import Observer
from tflite_ptq.journal import Journal
from tflite_ptq.measure.environment import environment
from tflite_ptq.measure.extras import require
from tflite_ptq.model.tflite_source import float_inputs
from tflite_ptq.recipe.loader import LoadedRecipe
from tflite_ptq.recipe.schema import FLOAT32, Model, Recipe, Variant
from tflite_ptq.report import files, outcome_folder
from tflite_ptq.result import DatasetInfo, Frozen, ModelInfo, Report, TensorInfo
from tflite_ptq.worker.children import Children, children_of
from tflite_ptq.worker.messages import (
    Describe,
    Described,
    Evaluate,
    Evaluation,
    Opened,
    OpenSource,
    Scan,
    Scanned,
)
from tflite_ptq.worker.timing import Timing

AnswerT = TypeVar("AnswerT", bound=Frozen)


@dataclass(frozen=True)
class Options:
    """What the command line asks beside the recipe."""

    only: tuple[str, ...] = ()
    benchmark: bool = True
    output: Path | None = None


def run(loaded: LoadedRecipe, options: Options, observer: Observer) -> tuple[Report, Path]:
    """Follows the recipe; the report and the folder it was written to.

    Raises ``UserError`` where the run cannot go on; a report of what was finished is written first.
    """
    recipe = loaded.recipe
    variants = _chosen_variants(recipe, options.only)
    folder = output_folder(loaded, options)
    outcome_folder.prepare(folder)
    if options.benchmark:
        require(recipe.benchmark.accuracy.metrics)
    journal = Journal(loaded, environment(), variants, benchmark=options.benchmark)
    try:
        with children_of(folder / "log.txt", recipe.timeout_s) as children:
            _Run(recipe, loaded.path.parent, variants, folder, children, journal, observer).follow(options.benchmark)
    except BaseException as stopped:
        journal.stopped(stopped, folder)
        raise
    finally:
        atomic.sweep(folder)
    report = journal.report()
    files.write(report, folder)
    return report, folder


def output_folder(loaded: LoadedRecipe, options: Options) -> Path:
    """``--output``, the recipe's ``output``, or ``out/<recipe name>`` below the current folder."""
    return options.output or Path(loaded.recipe.output or Path("out") / loaded.recipe.name)


def _chosen_variants(recipe: Recipe, only: Sequence[str]) -> tuple[Variant, ...]:
    names = [variant.name for variant in recipe.variants]
    for name in only:
        if name not in (*names, FLOAT32):
            raise UsageError(f"--only {name}: the recipe has no such variant ({', '.join([FLOAT32, *names])})")
    return tuple(variant for variant in recipe.variants if not only or variant.name in only)


@dataclass(frozen=True)
class _Run:
    recipe: Recipe
    recipe_folder: Path
    variants: tuple[Variant, ...]
    folder: Path
    children: Children
    journal: Journal
    observer: Observer

    def follow(self, benchmark: bool) -> None:
        with ThreadPoolExecutor(max_workers=1) as converting:
            try:
                inputs = self._open_and_scan(converting)
                Building(
                    self.recipe, self.variants, inputs, self.folder, self.children, self.journal, self.observer
                ).build(converting)
            except BaseException:
                # The converting thread waits for the child's answer; without the child it ends.
                converting.shutdown(wait=False, cancel_futures=True)
                self.children.converter.kill()
                raise
        self.children.converter.kill()  # the machine is quiet when latency is measured
        if benchmark:
            self._evaluate(inputs)
            self.children.runtime.kill()
            self._time()

    def _open_and_scan(self, converting: ThreadPoolExecutor) -> tuple[TensorInfo, ...]:
        started = time.monotonic()
        self.observer.stage("opening the model", 0, None)
        model = self.recipe.model
        described = self._runtime(Describe(model=model), Described, "describe the model")
        opening: Future[Opened] | None = None
        if described.kind != "tflite":
            request = OpenSource(model=model, folder=str(self.children.exported))
            opening = converting.submit(self.children.converter.ask, request, Opened, "open the model")
        scanned = self._scan()
        opened = opening.result() if opening is not None else _float_tflite(model, described)
        # Only now: a run that cannot begin must not cost the results of the one before.
        outcome_folder.clear(self.folder, self.journal.names)
        self.journal.opened(
            ModelInfo(
                path=model.path,
                sha256=sha256_of(Path(model.path)),
                format=described.kind,
                inputs=opened.inputs,
                outputs=opened.outputs,
            ),
            scanned,
        )
        self.journal.lasted("open", time.monotonic() - started)
        return opened.inputs

    def _scan(self) -> DatasetInfo | None:
        if self.recipe.dataset is None:
            return None
        scanned = self._runtime(Scan(dataset=self.recipe.dataset), Scanned, "scan the dataset")
        return DatasetInfo(
            calibration_samples=scanned.calibration_samples,
            evaluation_samples=scanned.evaluation_samples,
            calibration_left_out=scanned.calibration_left_out,
            labelled=scanned.labelled,
        )

    def _evaluate(self, inputs: tuple[TensorInfo, ...]) -> None:
        dataset, scanned = self.recipe.dataset, self.journal.dataset
        if dataset is None or scanned is None or not scanned.evaluation_samples:
            self.journal.note_all("accuracy and fidelity were not measured: the recipe has no evaluation samples")
            return
        started = time.monotonic()
        together = Evaluate(
            models={name: str(self._file(name)) for name in self.journal.usable},
            inputs=inputs,
            dataset=dataset,
            metrics=self.journal.metrics(),
            recipe_folder=str(self.recipe_folder),
        )
        try:
            self.journal.evaluated(self._evaluated(together, "all variants"))
        except WorkerCrash:
            for name, request in together.one_by_one().items():
                with self.journal.guarding(name, fatal=name == FLOAT32):
                    self.journal.evaluated(self._evaluated(request, name))
        self.journal.lasted("evaluate", time.monotonic() - started)

    def _evaluated(self, request: Evaluate, what: str) -> Evaluation:
        return self._runtime(request, Evaluation, f"evaluation of {what}", self._progress("evaluating"))

    def _time(self) -> None:
        settings = self.recipe.benchmark.latency
        if settings is None:
            return
        started = time.monotonic()
        models = {name: self._file(name) for name in self.journal.usable}
        timing = Timing(models, FLOAT32, settings, self.children.log, self.children.timeout_s)
        try:
            timing.run(self._progress("measuring latency"))
        finally:  # an interruption costs the rounds to come, not those done
            self.journal.timed(timing.outcomes(), timing.warnings())
            files.write_timings(timing.raw(), self.folder)
        self.journal.lasted("latency", time.monotonic() - started)

    def _file(self, name: str) -> Path:
        return self.folder / f"{name}.tflite"

    def _runtime(
        self, request: Frozen, answer: type[AnswerT], what: str, progress: Callable[[int, int], None] | None = None
    ) -> AnswerT:
        return self.children.runtime.ask(request, answer, what, progress)

    def _progress(self, what: str) -> Callable[[int, int], None]:
        return lambda done, total: self.observer.stage(what, done, total)


def _float_tflite(model: Model, described: Described) -> Opened:
    inputs = float_inputs(model, described.inputs or (), described.quantized)
    return Opened(inputs=inputs, outputs=described.outputs or ())
