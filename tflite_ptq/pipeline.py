"""The story of a run, top to bottom: the only place that knows every stage.

    recipe -> source model -> samples -> float model -> variants -> audit -> measurement -> gate -> report

The parent process stays light: two children do the work side by side, the converter (TensorFlow) and the runtime
(LiteRT). What fails costs its one variant; what was finished is kept and reported. Each stage but latency looks in the
cache first, and the converter starts only where something has to be converted.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from tflite_ptq import atomic, manifest
from tflite_ptq.building import Building
from tflite_ptq.cache.keys import Keys, SampleHashes
from tflite_ptq.cache.origin import origin
from tflite_ptq.cache.place import Place
from tflite_ptq.cache.session import Cache
from tflite_ptq.errors import UsageError
from tflite_ptq.evaluating import Evaluating
from tflite_ptq.journal import Journal
from tflite_ptq.measure.environment import environment
from tflite_ptq.measure.extras import require
from tflite_ptq.model.filetype import kind
from tflite_ptq.model.tflite_source import float_inputs
from tflite_ptq.observer import Observer
from tflite_ptq.opening import Source, hash_of
from tflite_ptq.recipe.loader import LoadedRecipe
from tflite_ptq.recipe.schema import FLOAT32, Model, Recipe, Variant
from tflite_ptq.report import files, outcome_folder
from tflite_ptq.reporting import Reporting
from tflite_ptq.result import DatasetInfo, ModelInfo, Report, TensorInfo
from tflite_ptq.run_context import RunContext
from tflite_ptq.worker.children import children_of
from tflite_ptq.worker.messages import Describe, Described, Opened, Scan, Scanned
from tflite_ptq.worker.spawning import Early


@dataclass(frozen=True)
class Options:
    """What the command line asks beside the recipe."""

    only: tuple[str, ...] = ()
    benchmark: bool = True
    output: Path | None = None
    cache: Place | None = None


def run(
    loaded: LoadedRecipe, options: Options, observer: Observer, runtime: Early | None = None
) -> tuple[Report, Path]:
    """Follows the recipe; the report and the folder it was written to. ``runtime``: the child, where it was started.

    Raises ``UserError`` where the run cannot go on; a report of what was finished is written first.
    """
    recipe = loaded.recipe
    variants = _chosen_variants(recipe, options.only)
    folder = output_folder(loaded, options)
    outcome_folder.prepare(folder)
    if options.benchmark:
        require(recipe.benchmark.accuracy.metrics)
    found_here = environment()
    journal = Journal(loaded, found_here, variants, benchmark=options.benchmark)
    cache = Cache(options.cache, journal.from_cache, journal.warn)
    reporting = Reporting(journal, options.cache)
    try:
        form = kind(Path(recipe.model.path))
        keys = Keys(origin(found_here), recipe, hash_of(recipe.model, cache.hashes))
        converts = form != "tflite" and not (cache.has(keys.source()) and cache.has(keys.float32()))
        with children_of(folder / "log.txt", recipe.timeout_s, convert=converts, early=runtime) as children:
            source = Source(recipe.model, keys.source(), children, cache)
            run = RunContext(loaded, variants, folder, children, cache, keys, journal, observer)
            _Run(run, source, reporting, converts).follow(options.benchmark)
        cache.close()
    except BaseException as stopped:
        journal.stopped(stopped, folder)
        raise
    finally:
        atomic.sweep(folder)
    report = reporting.write(folder)
    manifest.write(report, journal.samples, keys.origin, folder)
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
    run: RunContext
    source: Source
    reporting: Reporting
    converts: bool

    def follow(self, benchmark: bool) -> None:
        with ThreadPoolExecutor(max_workers=1) as converting:
            try:
                if not self.converts:
                    self.reporting.load_pages()
                    if benchmark and self.run.recipe.benchmark.latency is not None:  # no two runs' plots are the same
                        self.reporting.load_plots()
                inputs = self._open_and_scan(converting)
                if self.converts:  # from here on it mostly waits for one child at a time
                    self.reporting.load_pages()
                    self.reporting.load_plots()
                Building(self.run, inputs, self.source).build(converting)
                if self.run.cache.missed:
                    self.reporting.load_plots()
            except BaseException:
                # The converting thread waits for the child's answer; without the child it ends.
                converting.shutdown(wait=False, cancel_futures=True)
                self.run.children.converter.kill()
                raise
        self.run.children.converter.kill()  # the machine is quiet when latency is measured
        if benchmark:
            self._evaluate(inputs)
            self.run.children.runtime.kill()
            self.reporting.wait()  # a machine at work is not timed
            self._time()

    def _open_and_scan(self, converting: ThreadPoolExecutor) -> tuple[TensorInfo, ...]:
        started = time.monotonic()
        self.run.observer.stage("opening the model", 0, None)
        model = self.run.recipe.model
        described = self.run.children.runtime.ask(Describe(model=model), Described, "describe the model")
        is_source = described.kind != "tflite"
        opened = self.source.known() if is_source else _float_tflite(model, described)
        opening = converting.submit(self.source.open) if opened is None else None
        scanned = self._scan()
        if opening is not None:
            opened = opening.result()
        assert opened is not None
        # Only now: a run that cannot begin must not cost the results of the one before.
        outcome_folder.clear(self.run.folder, self.run.journal.names)
        self.run.journal.opened(
            ModelInfo(
                path=model.path,
                sha256=self.run.keys.model_sha256,
                format=described.kind,
                inputs=opened.inputs,
                outputs=opened.outputs,
            ),
            _dataset_info(scanned),
            scanned.hashes if scanned is not None else SampleHashes(),
        )
        self.run.journal.lasted("open", time.monotonic() - started)
        return opened.inputs

    def _scan(self) -> Scanned | None:
        if self.run.recipe.dataset is None:
            return None
        memory = str(self.run.cache.hashes) if self.run.cache.hashes is not None else None
        request = Scan(dataset=self.run.recipe.dataset, hashes=True, memory=memory)
        return self.run.children.runtime.ask(request, Scanned, "scan the dataset")

    def _evaluate(self, inputs: tuple[TensorInfo, ...]) -> None:
        dataset, scanned = self.run.recipe.dataset, self.run.journal.dataset
        if dataset is None or scanned is None or not scanned.evaluation_samples:
            self.run.journal.note_all("accuracy and fidelity were not measured: the recipe has no evaluation samples")
            return
        started = time.monotonic()
        Evaluating(self.run, dataset, inputs).evaluate()
        self.run.journal.lasted("evaluate", time.monotonic() - started)

    def _time(self) -> None:
        settings = self.run.recipe.benchmark.latency
        if settings is None:
            return
        from tflite_ptq.worker.timing import Timing  # a run that is mostly cached feels its imports

        started = time.monotonic()
        models = {name: self.run.file(name) for name in self.run.journal.usable}
        timing = Timing(models, FLOAT32, settings, self.run.children.log, self.run.children.timeout_s)
        try:
            timing.run(self.run.progress("measuring latency"))
        finally:  # an interruption costs the rounds to come, not those done
            self.run.journal.timed(timing.outcomes(), timing.warnings())
            files.write_timings(timing.raw(), self.run.folder)
        self.run.journal.lasted("latency", time.monotonic() - started)


def _dataset_info(scanned: Scanned | None) -> DatasetInfo | None:
    if scanned is None:
        return None
    return DatasetInfo(
        calibration_samples=scanned.calibration_samples,
        evaluation_samples=scanned.evaluation_samples,
        calibration_left_out=scanned.calibration_left_out,
        labelled=scanned.labelled,
        calibration_sha256=scanned.hashes.calibration,
        evaluation_sha256=scanned.hashes.evaluation,
    )


def _float_tflite(model: Model, described: Described) -> Opened:
    inputs = float_inputs(model, described.inputs or (), described.quantized)
    return Opened(inputs=inputs, outputs=described.outputs or ())
