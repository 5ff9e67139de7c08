"""Rules between fields of a valid recipe: combinations that cannot work. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from tflite_ptq.recipe.dataset import Dataset, ImageFormat, NpzFormat, Subset
from tflite_ptq.recipe.faults import Fault, Loc, nearest
from tflite_ptq.recipe.gate import GateLimits, LatencyLimits
from tflite_ptq.recipe.labels import TASK_LABELS, CocoLabels, KeyLabels
from tflite_ptq.recipe.latency import NAMES as DELEGATE_NAMES
from tflite_ptq.recipe.metric import TASK_METRICS, UNLABELLED_METRICS
from tflite_ptq.recipe.schema import FLOAT32, INTEGER_SCHEMES, Recipe

_ADD_EVALUATION = "but the recipe has no evaluation samples; add dataset.evaluation"


def faults_of(recipe: Recipe) -> list[Fault]:
    """Every broken rule of ``recipe``, each with its place."""
    return [*_variants(recipe), *_dataset(recipe), *_metrics(recipe), *_delegates(recipe), *_gate(recipe)]


def _variants(recipe: Recipe) -> Iterator[Fault]:
    seen: dict[str, int] = {}
    for index, variant in enumerate(recipe.variants):
        # Names are file names: on some disks 'Small' and 'small' are one file.
        first = seen.setdefault(variant.name.lower(), index)
        if first != index:
            yield Fault(
                ("variants", index),
                f"the name '{variant.name}' is taken by variants[{first}]; give one of them another name",
            )
        if variant.needs_calibration and (recipe.dataset is None or recipe.dataset.calibration is None):
            yield Fault(
                ("variants", index),
                f"scheme {variant.scheme} needs a representative dataset; add dataset.calibration",
            )


def _dataset(recipe: Recipe) -> Iterator[Fault]:
    dataset = recipe.dataset
    if dataset is None:
        return
    for name, subset in (("calibration", dataset.calibration), ("evaluation", dataset.evaluation)):
        if subset is None:
            continue
        yield from _subset(dataset, name, subset)
        if subset.select == "stratified" and (subset.labels == "none" or isinstance(subset.labels, TASK_LABELS)):
            got = "labels is 'none'" if subset.labels == "none" else "these are no classes"
            yield Fault(
                ("dataset", name, "select"),
                f"stratified needs labels, but {got}; give labels, or select: random",
            )
    if not isinstance(dataset.format, ImageFormat):
        for index, step in enumerate(dataset.preprocess):
            key = "resize" if step.resize else "center_crop" if step.center_crop else "color" if step.color else None
            if key:
                yield Fault(
                    ("dataset", "preprocess", index, key),
                    f"is for images, but dataset.format.type is {dataset.format.type}; remove this step",
                )
    classes = dataset.classes or ()
    for index, label in enumerate(classes):
        if label in classes[:index]:
            yield Fault(
                ("dataset", "classes", index),
                f"'{label}' is already class {classes.index(label)}; name each class once",
            )


def _subset(dataset: Dataset, name: str, subset: Subset) -> Iterator[Fault]:
    if isinstance(subset.labels, CocoLabels) and not isinstance(dataset.format, ImageFormat):
        yield Fault(
            ("dataset", name, "labels"),
            f"{{coco: ...}} is for images, but dataset.format.type is {dataset.format.type}",
        )
    if isinstance(subset.labels, KeyLabels) and not isinstance(dataset.format, NpzFormat):
        yield Fault(
            ("dataset", name, "labels"),
            f"{{key: ...}} names an array of an .npz, but dataset.format.type is {dataset.format.type}; "
            "give a .csv or .npy path, 'folders' or 'none'",
        )


def _metrics(recipe: Recipe) -> Iterator[Fault]:
    evaluation = recipe.dataset.evaluation if recipe.dataset else None
    seen: dict[tuple[str, str | None, str], int] = {}
    for index, metric in enumerate(recipe.benchmark.accuracy.metrics):
        loc = ("benchmark", "accuracy", "metrics", index)
        first = seen.setdefault((metric.name, metric.output, metric.score), index)
        if first != index:
            yield Fault(loc, f"{metric.name} of the same output is already metrics[{first}]; remove one of them")
        if evaluation is None:
            yield Fault(loc, f"{metric.name} is measured on evaluation samples, {_ADD_EVALUATION}")
        elif metric.custom or metric.name in UNLABELLED_METRICS:
            continue
        elif evaluation.labels == "none":
            yield Fault(loc, f"{metric.name} needs labels, but dataset.evaluation.labels is 'none'; give labels")
        else:
            yield from _task(loc, metric.name, evaluation.labels)


def _task(loc: Loc, metric: str, labels: object) -> Iterator[Fault]:
    """Masks, boxes and transcripts serve one metric each, and that metric nothing else."""
    if metric in TASK_METRICS:
        kind, written = TASK_METRICS[metric]
        if not isinstance(labels, kind):
            yield Fault(loc, f"{metric} is held against labels of its own; set dataset.evaluation.labels to {written}")
    elif isinstance(labels, TASK_LABELS):
        fitting = next(name for name, (kind, _) in TASK_METRICS.items() if isinstance(labels, kind))
        yield Fault(loc, f"{metric} needs a class or number a sample, but the labels are those of {fitting}; use that")


def _delegates(recipe: Recipe) -> Iterator[Fault]:
    labels = recipe.benchmark.latency.labels if recipe.benchmark.latency else ()
    for index, label in enumerate(labels):
        if label in labels[:index]:
            yield Fault(
                ("benchmark", "latency", "delegates", index),
                f"'{label}' is already delegates[{labels.index(label)}]; remove one of them"
                + (", or give one an option to tell them apart" if label not in DELEGATE_NAMES else ""),
            )


def _gate(recipe: Recipe) -> Iterator[Fault]:
    schemes = {variant.name: variant.scheme for variant in recipe.variants}
    names = (*schemes, FLOAT32)
    has_evaluation = recipe.dataset is not None and recipe.dataset.evaluation is not None
    for name, limits in recipe.gate.items():
        loc = ("gate", name)
        if name not in names:
            yield Fault(loc, f"'{name}' is not a variant{nearest(name, names)} ({', '.join(names)})")
            continue
        if limits.fully_integer and schemes.get(name) not in INTEGER_SCHEMES:
            yield Fault(
                (*loc, "fully_integer"),
                f"scheme {schemes.get(name, FLOAT32)} computes in floating point; gate an int8 or int16x8 variant",
            )
        for key, asked in (("accuracy", limits.accuracy), ("fidelity", limits.fidelity)):
            if asked is not None and not has_evaluation:
                yield Fault((*loc, key), f"{key} is measured on evaluation samples, {_ADD_EVALUATION}")
        if has_evaluation:
            yield from _gate_accuracy(recipe, name, limits)
        if limits.latency is not None:
            yield from _gate_latency(recipe, name, limits.latency)


def _gate_accuracy(recipe: Recipe, name: str, limits: GateLimits) -> Iterator[Fault]:
    if limits.accuracy is None:
        return
    evaluation = recipe.dataset.evaluation if recipe.dataset else None
    unlabelled = evaluation is not None and evaluation.labels == "none"
    default = () if unlabelled else ("top1",)
    measured = tuple(metric.name for metric in recipe.benchmark.accuracy.metrics) or default
    asked = limits.accuracy.metric
    if not measured:
        yield Fault(
            ("gate", name, "accuracy"),
            "no metric is measured: dataset.evaluation.labels is 'none'; "
            "give labels, add benchmark.accuracy.metrics, or gate fidelity",
        )
    # Where one metric is measured on several outputs the report calls it name(output).
    elif asked is not None and asked.partition("(")[0] not in measured:
        yield Fault(
            ("gate", name, "accuracy", "metric"),
            f"'{asked}' is not measured{nearest(asked, measured)} "
            f"(measured: {', '.join(measured)}); add it to benchmark.accuracy.metrics",
        )


def _gate_latency(recipe: Recipe, name: str, limits: LatencyLimits) -> Iterator[Fault]:
    settings = recipe.benchmark.latency
    loc = ("gate", name, "latency")
    if settings is None:
        yield Fault(loc, "latency is not measured: benchmark.latency is null; set it or remove this limit")
        return
    allowed = settings.labels
    if limits.delegate is not None and limits.delegate not in allowed:
        yield Fault(
            (*loc, "delegate"),
            f"'{limits.delegate}' is not measured{nearest(limits.delegate, allowed)} "
            f"(measured: {', '.join(allowed)}); add it to benchmark.latency.delegates",
        )
    if limits.threads is not None and limits.threads not in settings.threads:
        yield Fault(
            (*loc, "threads"),
            f"{limits.threads} threads are not measured (measured: {', '.join(map(str, settings.threads))}); "
            "add them to benchmark.latency.threads",
        )
