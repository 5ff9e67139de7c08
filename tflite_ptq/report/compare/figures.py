"""The figures of two runs beside each other, each with its change and what that is worth. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from tflite_ptq.recipe.schema import FLOAT32
from tflite_ptq.report.compare import intervals
from tflite_ptq.report.compare.result import Figure, Verdict
from tflite_ptq.result import Interval, Report, VariantResult

NOTHING = VariantResult(name="", scheme="")


def figures(baseline: Report, candidate: Report, names: tuple[str, ...], *, timed: bool) -> Iterator[Figure]:
    """All figures that one of the runs has of the variants ``names``; those of latency where ``timed``."""
    ours, theirs = variants_of(baseline), variants_of(candidate)
    # Where the float model is another, a variant's change against it says more than its value.
    retrained = _values(ours.get(FLOAT32, NOTHING)) != _values(theirs.get(FLOAT32, NOTHING))
    for name in names:
        a, b = ours.get(name, NOTHING), theirs.get(name, NOTHING)
        yield from _sized(name, a, b)
        yield from _accurate(name, a, b, retrained=retrained)
        yield from _faithful(name, a, b)
        if timed:
            yield from _timed(name, a, b)


def variants_of(report: Report) -> dict[str, VariantResult]:
    """The report's variants by name, in its order."""
    return {variant.name: variant for variant in report.variants}


def _values(variant: VariantResult) -> dict[str, float]:
    return {name: metric.value for name, metric in (variant.accuracy or {}).items()}


def _sized(name: str, a: VariantResult, b: VariantResult) -> Iterator[Figure]:
    if a.size_bytes is not None or b.size_bytes is not None:
        yield _ratio(
            Figure(
                variant=name,
                kind="size",
                name="size_bytes",
                baseline=a.size_bytes,
                candidate=b.size_bytes,
                higher_is_better=False,
            )
        )


def _accurate(name: str, a: VariantResult, b: VariantResult, *, retrained: bool) -> Iterator[Figure]:
    ours, theirs = a.accuracy or {}, b.accuracy or {}
    for metric in dict.fromkeys((*ours, *theirs)):
        x, y = ours.get(metric), theirs.get(metric)
        known = [one for one in (x, y) if one is not None]
        higher = known[-1].higher_is_better
        yield _change(
            Figure(
                variant=name,
                kind="accuracy",
                name=metric,
                baseline=x.value if x else None,
                candidate=y.value if y else None,
                higher_is_better=higher,
                baseline_interval=x.interval if x else None,
                candidate_interval=y.interval if y else None,
            )
        )
        if any(one.change_interval is not None or (retrained and one.change is not None) for one in known):
            yield _change(
                Figure(
                    variant=name,
                    kind="accuracy-change",
                    name=metric,
                    baseline=x.change if x else None,
                    candidate=y.change if y else None,
                    higher_is_better=higher,
                    baseline_interval=x.change_interval if x else None,
                    candidate_interval=y.change_interval if y else None,
                )
            )


def _faithful(name: str, a: VariantResult, b: VariantResult) -> Iterator[Figure]:
    x, y = a.fidelity, b.fidelity
    pairs = [("agreement", x.agreement if x else None, y.agreement if y else None)]
    # An infinite SQNR (outputs identical to float32's) is no number to compare; a warning tells where it went.
    if not any(one is not None and one.exact for one in (x, y)):
        pairs.append(("sqnr_db", x.sqnr_db if x else None, y.sqnr_db if y else None))
    for figure, ours, theirs in pairs:
        if ours is not None or theirs is not None:
            yield _change(
                Figure(
                    variant=name,
                    kind="fidelity",
                    name=figure,
                    baseline=ours,
                    candidate=theirs,
                    higher_is_better=True,
                )
            )


def _timed(name: str, a: VariantResult, b: VariantResult) -> Iterator[Figure]:
    ours = {(one.delegate, one.threads): one for one in a.latency or ()}
    theirs = {(one.delegate, one.threads): one for one in b.latency or ()}
    for delegate, threads in dict.fromkeys((*ours, *theirs)):
        x, y = ours.get((delegate, threads)), theirs.get((delegate, threads))
        yield _ratio(
            Figure(
                variant=name,
                kind="latency",
                name=f"median_ns[{delegate},{threads}]",
                baseline=x.median_ns if x else None,
                candidate=y.median_ns if y else None,
                higher_is_better=False,
                baseline_interval=x.median_interval_ns if x else None,
                candidate_interval=y.median_interval_ns if y else None,
            )
        )


def _change(figure: Figure) -> Figure:
    a, b = figure.baseline, figure.candidate
    if a is None or b is None:
        return figure
    interval = intervals.of_difference(a, figure.baseline_interval, b, figure.candidate_interval)
    verdict = _verdict(figure, b - a, 0, interval) if interval is not None or a == b else None
    return figure.model_copy(update={"change": b - a, "interval": interval, "verdict": verdict})


def _ratio(figure: Figure) -> Figure:
    a, b = figure.baseline, figure.candidate
    if a is None or b is None or a <= 0:  # a report that was edited may hold a size of 0
        return figure
    interval = intervals.of_ratio(a, figure.baseline_interval, b, figure.candidate_interval)
    # Two measurements always differ; without an interval nobody knows what that is worth.
    known = figure.kind == "size" or interval is not None
    verdict = _verdict(figure, b / a, 1, interval) if known else None
    return figure.model_copy(update={"ratio": b / a, "interval": interval, "verdict": verdict})


def _verdict(figure: Figure, value: float, neutral: float, interval: Interval | None) -> Verdict:
    if value == neutral:
        return "same"
    if interval is not None and interval.low <= neutral <= interval.high:
        return "unclear"
    return "better" if (value > neutral) is figure.higher_is_better else "worse"
