"""In what two runs differ beside their figures, and what that means for them. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from tflite_ptq.report.compare.figures import NOTHING, variants_of
from tflite_ptq.report.compare.result import Difference
from tflite_ptq.result import DatasetInfo, Report

# Latencies are comparable where all of these are equal: what to call it -> the field of ``Environment``.
_MACHINE = {
    "CPU": "cpu",
    "cores": "cores",
    "architecture": "machine",
    "platform": "platform",
    "LiteRT": "ai_edge_litert",
}
_VERSIONS = {"tflite-ptq": "tool", "TensorFlow": "tensorflow", "Python": "python", "NumPy": "numpy"}


def differences(baseline: Report, candidate: Report) -> Iterator[Difference]:
    """Recipe, model, samples, machine and versions, as far as they differ."""
    yield from _differing("recipe (sha256)", baseline.recipe.sha256, candidate.recipe.sha256)
    yield from _differing("--set", _joined(baseline.recipe.overrides), _joined(candidate.recipe.overrides))
    models = [None if report.model is None else report.model.sha256 for report in (baseline, candidate)]
    yield from _differing("model (sha256)", *models)
    ours, theirs = _samples(baseline.dataset), _samples(candidate.dataset)
    for what in ours if theirs else ():
        yield from _differing(what, ours[what], theirs[what])
    yield from other_machine(baseline, candidate)
    for what, field in _VERSIONS.items():
        yield from _differing(what, getattr(baseline.environment, field), getattr(candidate.environment, field))


def other_machine(baseline: Report, candidate: Report) -> tuple[Difference, ...]:
    """In what the machines differ, so that the latencies cannot be compared."""
    ours, theirs = baseline.environment, candidate.environment
    return tuple(
        difference
        for what, field in _MACHINE.items()
        for difference in _differing(what, getattr(ours, field), getattr(theirs, field))
    )


def in_words(found: Sequence[Difference]) -> str:
    """``cores: 2 and 4; LiteRT: 2.3.0 and 2.4.0``."""
    return "; ".join(f"{one.what}: {one.baseline or 'unknown'} and {one.candidate or 'unknown'}" for one in found)


def warnings(baseline: Report, candidate: Report, names: Sequence[str]) -> Iterator[str]:
    """What a reader must know before believing a figure of the variants ``names``."""
    counts = [report.dataset.evaluation_samples if report.dataset else 0 for report in (baseline, candidate)]
    hashes = [report.dataset.evaluation_sha256 if report.dataset else None for report in (baseline, candidate)]
    if counts[0] != counts[1] and all(counts):
        yield f"accuracy and fidelity are of different samples: {counts[0]:,} in the baseline, {counts[1]:,} now"
    elif hashes[0] != hashes[1] and all(hashes):
        yield "accuracy and fidelity are of different samples: as many, but not the same names, labels and bytes"
    if candidate.status == "error":
        yield "the candidate's run met an error: what it lacks was not measured"
    ours, theirs = variants_of(baseline), variants_of(candidate)
    for name in names:
        a, b = ours.get(name, NOTHING), theirs.get(name, NOTHING)
        if b.error is not None:
            yield f"{name}: {b.error.removeprefix(f'{name}: ')}"
        if a.audit is not None and b.audit is not None and a.audit.fully_integer and not b.audit.fully_integer:
            yield f"{name}: was fully integer in the baseline and is not now"
        if a.fidelity is not None and b.fidelity is not None and a.fidelity.exact is not b.fidelity.exact:
            identical = "the baseline" if a.fidelity.exact else "the candidate"
            yield f"{name}: every output is identical to float32's in {identical} only"


def _differing(what: str, ours: object, theirs: object) -> Iterator[Difference]:
    if ours != theirs:
        a, b = (None if value is None else str(value) for value in (ours, theirs))
        yield Difference(what=what, baseline=a, candidate=b)


def _joined(overrides: Sequence[str]) -> str | None:
    return "; ".join(overrides) or None


def _samples(dataset: DatasetInfo | None) -> dict[str, int | str | None]:
    if dataset is None:
        return {}
    return {
        "calibration samples": dataset.calibration_samples,
        "evaluation samples": dataset.evaluation_samples,
        "calibration samples (sha256)": dataset.calibration_sha256,
        "evaluation samples (sha256)": dataset.evaluation_sha256,
        "skipped samples": len(dataset.skipped),
    }
