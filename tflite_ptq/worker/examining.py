"""The runtime child's look at the samples themselves, before any model sees them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tflite_ptq.data.census import Census, census
from tflite_ptq.data.findings import findings
from tflite_ptq.data.index import SampleRef
from tflite_ptq.data.reader import Reader, stream
from tflite_ptq.model.editing import Editable
from tflite_ptq.quantize.calibration.input_scale import rescales_input
from tflite_ptq.worker.chosen import chosen_samples
from tflite_ptq.worker.messages import Examine, Examined

MOST_EXAMINED = 100
"""Evaluation samples looked at: they are a yardstick for the calibration samples, not what is judged."""
_MOST_CALIBRATION = 1000


def examine(request: Examine) -> Examined:
    """Findings on the calibration samples, as sentences; none where the recipe has none."""
    chosen = chosen_samples(request.dataset)
    if not chosen.calibration:
        return Examined()
    reader = Reader(request.dataset, request.inputs)

    def count(refs: Sequence[SampleRef]) -> Census:
        return census(stream(reader, refs, "skip", lambda ref, reason: None))

    rescaling = rescales_input(Editable(Path(request.model).read_bytes())) if request.model is not None else None
    found = findings(
        count(chosen.calibration[:_MOST_CALIBRATION]),
        count(chosen.evaluation[:MOST_EXAMINED]) if chosen.evaluation else None,
        chosen.classes,
        rescaling,
    )
    return Examined(findings=tuple(str(finding) for finding in found))
