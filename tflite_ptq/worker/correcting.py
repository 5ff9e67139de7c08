"""The runtime child's correction job: which of several files of a variant comes closest to float32, and its biases."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from tflite_ptq import atomic
from tflite_ptq.data.reader import Reader, stream
from tflite_ptq.errors import MeasurementError
from tflite_ptq.measure.environment import cores
from tflite_ptq.model.editing import Editable
from tflite_ptq.model.flatbuffer import describe
from tflite_ptq.quantize.correction import decide
from tflite_ptq.quantize.correction.closer import closest, unless_exact
from tflite_ptq.quantize.correction.decide import MOST_SAMPLES, Trial
from tflite_ptq.quantize.correction.samples import Sample
from tflite_ptq.quantize.correction.yardstick import Yardstick
from tflite_ptq.recipe.dataset import Dataset
from tflite_ptq.result import Correction, LayerCorrection, TensorInfo
from tflite_ptq.worker.calibration_messages import Correct, Corrected
from tflite_ptq.worker.chosen import chosen_samples, spread


def correct(request: Correct) -> Corrected:
    """Replaces the quantized file by the closest of those it is tried against, corrected where that helps."""
    reference_path, path = Path(request.reference), Path(request.model)
    reference = Editable(reference_path.read_bytes())
    unserved = reference.why_not_editable()
    if unserved is not None:
        return Corrected(unserved=unserved)
    samples = correction_samples(request.dataset, request.inputs, MOST_SAMPLES)
    names = [info.name for info in describe(reference_path).inputs]
    quantized = [path.read_bytes(), *(Path(other).read_bytes() for other in request.others)]
    try:
        yardstick = Yardstick(reference, names, samples, in_turn=request.in_turn)
        first = Trial(yardstick, quantized[0], request.methods)
        with ThreadPoolExecutor(cores()) as pool:  # what the first found of the float model serves the others
            others = pool.map(lambda data: Trial(yardstick, data, request.methods), quantized[1:])
            trials = [first, *others]
        chosen = _closest(trials)
        if not trials[chosen].finite:
            raise MeasurementError("the outputs hold NaN or infinity on calibration samples")
        found = decide.judged(trials[chosen]) if request.judge_only else decide.correct(trials[chosen], cores())
    except MeasurementError as error:  # the audit, which runs the file as it is, judges whether it is of use
        return Corrected(unserved=str(error))
    if found.data != quantized[0]:
        atomic.write(path, found.data)
    return Corrected(
        closeness_db=found.closeness_db,
        refused=trials[chosen].refused,
        chosen=chosen,
        tried_db=tuple(float(np.mean(one.closeness_db)) if one.finite else None for one in trials),
        correction=Correction(
            method=found.method,
            sqnr_before_db=unless_exact(found.sqnr_before_db),
            sqnr_after_db=unless_exact(found.sqnr_after_db),
            held_back_samples=found.held_back,
            held_back=yardstick.holds_back,
            layers=tuple(
                LayerCorrection(layer=one.layer, op=one.kind, status=one.status, reason=one.reason)
                for one in found.decisions
            ),
        ),
    )


def _closest(trials: Sequence[Trial]) -> int:
    """The place of the one to keep; the first, where no other is surely closer."""
    finite = [place for place, trial in enumerate(trials) if trial.finite]
    if finite[:1] != [0]:
        return max(finite, key=lambda place: float(np.mean(trials[place].closeness_db)), default=0)
    best = closest(trials[0].closeness_db, [trials[place].closeness_db for place in finite[1:]])
    return 0 if best is None else finite[1:][best]


def correction_samples(dataset: Dataset, inputs: tuple[TensorInfo, ...], most: int) -> list[Sample]:
    """At most so many calibration samples, spread over all of them, in memory."""
    refs = chosen_samples(dataset).calibration
    return [
        s
        for _, s in stream(Reader(dataset, inputs), spread(refs, most), dataset.on_bad_sample, lambda ref, reason: None)
    ]
