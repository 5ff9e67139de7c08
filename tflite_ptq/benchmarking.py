"""The story of ``benchmark``: .tflite files as they are, measured side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tflite_ptq.errors import UserError, WorkerCrash
from tflite_ptq.fingerprint import sha256_of
from tflite_ptq.observer import Observer
from tflite_ptq.recipe.latency import LatencySettings
from tflite_ptq.recipe.loader import LoadedRecipe
from tflite_ptq.recipe.metric import Metric
from tflite_ptq.recipe.schema import Model
from tflite_ptq.result import Latency, TensorInfo, VariantResult
from tflite_ptq.timing_result import RawTimings
from tflite_ptq.worker.messages import (
    Audited,
    AuditFile,
    Describe,
    Described,
    Evaluate,
    Evaluated,
    Evaluation,
    Scan,
    Scanned,
)
from tflite_ptq.worker.process import Worker
from tflite_ptq.worker.scratch import LOG_NAME, keep_log
from tflite_ptq.worker.spawning import RUNTIME
from tflite_ptq.worker.timing import Timing

TIMEOUT_S = 3600.0


@dataclass(frozen=True)
class Side:
    """One file among those compared."""

    name: str
    path: Path


@dataclass(frozen=True)
class Compared:
    """The files measured, in the order they were given, with what makes the latencies doubtful and their raw values."""

    files: tuple[VariantResult, ...]
    warnings: tuple[str, ...] = ()
    timings: RawTimings | None = None


def sides(paths: Sequence[Path]) -> tuple[Side, ...]:
    """Files under names that tell them apart: the file's name, the whole path where two share it, and a number where
    one file is given twice."""
    names = [path.name for path in paths]
    told = [path.name if names.count(path.name) == 1 else str(path) for path in paths]
    numbers = [told[:index].count(name) + 1 for index, name in enumerate(told)]
    return tuple(
        Side(name if number == 1 else f"{name} ({number})", path.absolute())
        for path, name, number in zip(paths, told, numbers, strict=True)
    )


def benchmark(
    paths: Sequence[Path],
    loaded: LoadedRecipe | None,
    settings: LatencySettings | None,
    scratch: Path,
    observer: Observer,
) -> Compared:
    """Size, audit, accuracy (on the recipe's evaluation samples) and latency of each file.

    ``scratch`` is a folder for the children's log and temporary files; the log is kept where a child crashed.
    ``change`` and ``speedup`` are against the first file. A file that cannot be measured carries its ``error``.
    """
    log = scratch / LOG_NAME
    runtime = Worker(RUNTIME, log, TIMEOUT_S, scratch)
    compared = sides(paths)
    try:
        # All are opened first: a path that is wrong must not cost the measurement of the others.
        described = [
            runtime.ask(Describe(model=Model(path=str(side.path))), Described, f"describe {side.name}")
            for side in compared
        ]
        results = [
            _audit(side, found, runtime, loaded, observer) for side, found in zip(compared, described, strict=True)
        ]
        if loaded is not None:
            results = _evaluate(compared, described, results, runtime, loaded, observer)
    finally:
        runtime.kill()
    warnings: tuple[str, ...] = ()
    raw = None
    if settings is not None:
        usable = {side.name: side.path for side, found in zip(compared, results, strict=True) if not found.error}
        timing = Timing(usable, compared[0].name, settings, log, TIMEOUT_S)
        timing.run(lambda done, total: observer.stage("measuring latency", done, total))
        results = _timed(results, timing)
        warnings, raw = timing.warnings(), timing.raw()
    if any(str(log) in (result.error or "") for result in results):
        keep_log(scratch)
    return Compared(tuple(_against(results[0], result) for result in results), warnings, raw)


def _audit(
    side: Side, described: Described, runtime: Worker, loaded: LoadedRecipe | None, observer: Observer
) -> VariantResult:
    observer.stage(f"auditing {side.name}", 0, None)
    result = VariantResult(
        name=side.name,
        scheme="",
        file=str(side.path),
        sha256=sha256_of(side.path),
        size_bytes=side.path.stat().st_size,
    )
    request = AuditFile(
        name=side.name,
        model=str(side.path),
        variant=None,
        inputs=_inputs(described),
        dataset=loaded.recipe.dataset if loaded else None,
    )
    try:
        return result.model_copy(update={"audit": runtime.ask(request, Audited, f"audit of {side.name}").audit})
    except UserError as error:
        return result.model_copy(update={"error": str(error)})


def _evaluate(
    compared: Sequence[Side],
    described: Sequence[Described],
    results: Sequence[VariantResult],
    runtime: Worker,
    loaded: LoadedRecipe,
    observer: Observer,
) -> list[VariantResult]:
    """Accuracy on the recipe's evaluation samples. Files that take the same inputs see each sample together."""
    dataset = loaded.recipe.dataset
    usable = [i for i, result in enumerate(results) if result.error is None]
    if dataset is None or not usable:
        return list(results)
    scanned = runtime.ask(Scan(dataset=dataset), Scanned, "scan the dataset")
    metrics = loaded.recipe.benchmark.accuracy.metrics or ((Metric(name="top1"),) if scanned.labelled else ())
    if not scanned.evaluation_samples or not metrics:
        return list(results)

    def ask(request: Evaluate) -> Evaluation:
        what = " and ".join(request.models)
        return runtime.ask(
            request,
            Evaluation,
            f"evaluation of {what}",
            lambda done, total: observer.stage(f"evaluating {what}", done, total),
        )

    found: dict[str, Evaluated] = {}
    alike: dict[str, list[int]] = {}
    for i in usable:
        alike.setdefault(_inputs_key(described[i]), []).append(i)
    for group in alike.values():
        request = Evaluate(
            models={compared[i].name: str(compared[i].path) for i in group},
            inputs=_inputs(described[group[0]]),
            dataset=dataset,
            metrics=metrics,
            recipe_folder=str(loaded.path.parent),
            yardstick=compared[group[0]].name,
        )
        try:
            found |= ask(request).models
        except UserError as error:
            if not isinstance(error, WorkerCrash) or len(group) == 1:
                found |= {name: Evaluated(error=str(error)) for name in request.models}
                continue
            for name, pair in request.one_by_one().items():
                try:
                    found[name] = ask(pair).models[name]
                except UserError as one:
                    found[name] = Evaluated(error=str(one))
    return [_with_accuracy(result, found[result.name]) if result.name in found else result for result in results]


def _with_accuracy(result: VariantResult, found: Evaluated) -> VariantResult:
    return result.model_copy(
        update={
            "accuracy": found.accuracy or None,
            "classes": found.classes,
            "error": found.error or "; ".join(found.failed) or None,
            "notes": (*result.notes, *found.notes),
        }
    )


def _inputs(described: Described) -> tuple[TensorInfo, ...]:
    """The inputs as samples see them."""
    return tuple(_real(info) for info in described.inputs or ())


def _inputs_key(described: Described) -> str:
    """Equal for files that can be given the same arrays; a single input may have another name in each."""
    inputs = _inputs(described)
    names = [info.name for info in inputs] if len(inputs) > 1 else []
    return repr((names, [(info.shape, info.dtype) for info in inputs]))


def _real(info: TensorInfo) -> TensorInfo:
    """The input as samples see it: real values where the file takes quantized ones, and one sample a batch."""
    shape = tuple(1 if axis == 0 and size < 0 else size for axis, size in enumerate(info.shape))
    return info.model_copy(update={"shape": shape, "dtype": "float32" if info.scale is not None else info.dtype})


def _timed(results: Sequence[VariantResult], timing: Timing) -> list[VariantResult]:
    by_name = {result.name: result for result in results}
    for name, found in timing.outcomes():
        result = by_name[name]
        if isinstance(found, Latency):
            by_name[name] = result.model_copy(update={"latency": (*(result.latency or ()), found)})
        else:
            error = "; ".join(filter(None, (result.error, str(found))))
            by_name[name] = result.model_copy(update={"error": error})
    return list(by_name.values())


def _against(first: VariantResult, result: VariantResult) -> VariantResult:
    """``result`` with the changes of its metrics; its speedups it has already."""
    if result is first:
        return result
    values = {name: metric.value for name, metric in (first.accuracy or {}).items()}
    accuracy = {
        # A file with inputs of its own was evaluated apart from the first: a change, but no pairs to test it on.
        name: metric.model_copy(update={"change": metric.value - values[name]})
        if metric.change is None and name in values
        else metric
        for name, metric in (result.accuracy or {}).items()
    }
    return result.model_copy(update={"accuracy": accuracy or None})
