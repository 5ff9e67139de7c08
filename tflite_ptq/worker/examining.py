"""The runtime child's look at the samples themselves, before any model sees them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tflite_ptq.data.census import Census, census
from tflite_ptq.data.finding import NAMED, Finding, counted
from tflite_ptq.data.findings import findings
from tflite_ptq.data.index import SampleRef
from tflite_ptq.data.reader import Reader, stream
from tflite_ptq.worker.calibration_messages import Examine, Examined
from tflite_ptq.worker.chosen import chosen_samples, spread
from tflite_ptq.worker.looking import scales_itself

_MOST_CALIBRATION = 1000


def examine(request: Examine) -> Examined:
    """Findings on the calibration samples, as sentences; none where the recipe has none.

    Raises ``DataError`` for a sample that cannot be used, where the recipe does not skip it.
    """
    chosen = chosen_samples(request.dataset)
    if not chosen.calibration:
        return Examined()
    reader = Reader(request.dataset, request.inputs)
    skipped: list[tuple[str, str]] = []

    def count(refs: Sequence[SampleRef], most: int) -> Census:
        on_bad, taken = request.dataset.on_bad_sample, spread(refs, most)
        return census(stream(reader, taken, on_bad, lambda ref, reason: skipped.append((ref.name, reason))), refs)

    found = findings(
        count(chosen.calibration, _MOST_CALIBRATION),
        count(chosen.evaluation, request.most_evaluation) if chosen.evaluation else None,
        chosen.classes,
        scales_itself(Path(request.model)),
    )
    unusable = [_unusable(skipped)] if skipped else []
    return Examined(findings=tuple(str(finding) for finding in (*unusable, *found)))


def _unusable(skipped: Sequence[tuple[str, str]]) -> Finding:
    names = tuple(name for name, _ in skipped[:NAMED])
    text = f"{counted(len(skipped), 'sample')} cannot be used and will be skipped, the first because {skipped[0][1]}"
    return Finding("warning", text, names, "")
