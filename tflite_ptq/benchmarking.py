"""The story of ``benchmark``: .tflite files as they are, measured side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tflite_ptq.building import Observer
from tflite_ptq.errors import UserError
from tflite_ptq.fingerprint import sha256_of
from tflite_ptq.recipe.latency import LatencySettings
from tflite_ptq.recipe.loader import LoadedRecipe
from tflite_ptq.recipe.schema import Metric, Model
from tflite_ptq.result import Latency, TensorInfo, VariantResult
from tflite_ptq.result import Metric as MetricResult
from tflite_ptq.timing_result import RawTimings
from tflite_ptq.worker.messages import Audited, AuditFile, Describe, Described, Evaluate, Evaluation, Scan, Scanned
from tflite_ptq.worker.process import Worker
from tflite_ptq.worker.scratch import LOG_NAME, keep_log
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
    runtime = Worker("tflite_ptq.worker.runtime", log, TIMEOUT_S, scratch)
    compared = sides(paths)
    try:
        # All are opened first: a path that is wrong must not cost the measurement of the others.
        described = [
            runtime.ask(Describe(model=Model(path=str(side.path))), Described, f"describe {side.name}")
            for side in compared
        ]
        results = [
            _measure(side, found, runtime, loaded, observer) for side, found in zip(compared, described, strict=True)
        ]
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


def _measure(
    side: Side, described: Described, runtime: Worker, loaded: LoadedRecipe | None, observer: Observer
) -> VariantResult:
    observer.stage(f"auditing {side.name}", 0, None)
    inputs = tuple(_real(info) for info in described.inputs or ())
    dataset = loaded.recipe.dataset if loaded else None
    result = VariantResult(
        name=side.name,
        scheme="",
        file=str(side.path),
        sha256=sha256_of(side.path),
        size_bytes=side.path.stat().st_size,
    )
    try:
        request = AuditFile(name=side.name, model=str(side.path), variant=None, inputs=inputs, dataset=dataset)
        result = result.model_copy(update={"audit": runtime.ask(request, Audited, f"audit of {side.name}").audit})
        if loaded is None or dataset is None:
            return result
        scanned = runtime.ask(Scan(dataset=dataset), Scanned, "scan the dataset")
        metrics = loaded.recipe.benchmark.accuracy.metrics or ((Metric(name="top1"),) if scanned.labelled else ())
        if not scanned.evaluation_samples or not metrics:
            return result
        evaluate = Evaluate(
            models={side.name: str(side.path)},
            inputs=inputs,
            dataset=dataset,
            metrics=metrics,
            recipe_folder=str(loaded.path.parent),
        )
        evaluation = runtime.ask(
            evaluate,
            Evaluation,
            f"evaluation of {side.name}",
            lambda done, total: observer.stage(f"evaluating {side.name}", done, total),
        )
    except UserError as error:
        return result.model_copy(update={"error": str(error)})
    found = evaluation.models[side.name]
    accuracy = {name: MetricResult(value=value) for name, value in found.accuracy.items()}
    return result.model_copy(
        update={"accuracy": accuracy or None, "error": found.error or "; ".join(found.failed) or None}
    )


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
        name: metric.model_copy(update={"change": metric.value - values[name] if name in values else None})
        for name, metric in (result.accuracy or {}).items()
    }
    return result.model_copy(update={"accuracy": accuracy or None})
