"""What the pipeline asks of a child process, and the results: one JSON object a line.

A request carries all that its job needs, so that a child that died can be replaced and the job given to another.
"""

from __future__ import annotations

from typing import Literal, TypeAlias, Union

from tflite_ptq.cache.keys import SampleHashes
from tflite_ptq.recipe.dataset import Dataset
from tflite_ptq.recipe.metric import Metric
from tflite_ptq.recipe.schema import FLOAT32, Model, Variant
from tflite_ptq.result import Audit, Classes, Fidelity, Frozen, SkippedSample, TensorInfo
from tflite_ptq.result import Metric as Figure
from tflite_ptq.worker.calibration_messages import Calibrate, Correct, Examine, Prepare, Settle
from tflite_ptq.worker.debug_messages import CompareLayers, CompareOutputs, QuantizeParts
from tflite_ptq.worker.init_messages import LookAt


class OpenSource(Frozen):
    """Open the source model and export it below ``folder``."""

    job: Literal["open"] = "open"
    model: Model
    folder: str


class Opened(Frozen):
    """The exported model's signature."""

    inputs: tuple[TensorInfo, ...]
    outputs: tuple[TensorInfo, ...]


class Convert(Frozen):
    """Convert the exported model to ``target``; no variant means float32. ``yardstick`` is the float32 file, for the
    other variants."""

    job: Literal["convert"] = "convert"
    saved_model: str
    variant: Variant | None
    inputs: tuple[TensorInfo, ...]
    dataset: Dataset | None
    target: str
    yardstick: str | None = None


class Converted(Frozen):
    """The file is in its place."""

    skipped: tuple[SkippedSample, ...] = ()
    calibration_s: float | None = None
    substituted: tuple[str, ...] = ()
    """Names of the operators without an integer kernel that were written with others, one for each."""


class Quantize(Frozen):
    """Quantize ``calibrated``, a float file whose activations carry their ranges, to ``target``."""

    job: Literal["quantize"] = "quantize"
    calibrated: str
    variant: Variant
    target: str


ConverterJob: TypeAlias = Union[OpenSource, Convert, Quantize, QuantizeParts, Settle]


class Scan(Frozen):
    """Index the dataset, read its labels and choose the samples; with ``hashes`` also read their bytes.

    ``memory`` is a folder where hashes of files are remembered.
    """

    job: Literal["scan"] = "scan"
    dataset: Dataset
    hashes: bool = False
    memory: str | None = None


class Scanned(Frozen):
    """How many samples there are. ``labelled`` is of the evaluation samples."""

    calibration_samples: int
    evaluation_samples: int
    calibration_left_out: int
    labelled: bool
    classes: tuple[str, ...] | None = None
    hashes: SampleHashes = SampleHashes()


class FirstSample(Frozen):
    """Index the dataset and read the first sample of each subset against the model's inputs, where those are known."""

    job: Literal["first"] = "first"
    dataset: Dataset
    inputs: tuple[TensorInfo, ...] | None


class Describe(Frozen):
    """Read a model file without TensorFlow: the inputs of a source model, in any of its forms."""

    job: Literal["describe"] = "describe"
    model: Model


class Described(Frozen):
    """``None`` where the signature is not known without TensorFlow. ``quantized`` names what was found quantized."""

    kind: str
    inputs: tuple[TensorInfo, ...] | None
    outputs: tuple[TensorInfo, ...] | None = None
    quantized: str | None = None


class AuditFile(Frozen):
    """Audit one file and invoke it on one real sample (zeros where there is no dataset)."""

    job: Literal["audit"] = "audit"
    name: str
    model: str
    variant: Variant | None
    inputs: tuple[TensorInfo, ...] | None
    dataset: Dataset | None


class Audited(Frozen):
    """``findings`` are sentences for the variant's notes."""

    audit: Audit
    findings: tuple[str, ...] = ()


class Evaluate(Frozen):
    """Evaluate all models in one pass over the evaluation samples. ``models`` maps a variant's name to its file;
    changes are against the one named ``yardstick``."""

    job: Literal["evaluate"] = "evaluate"
    models: dict[str, str]
    inputs: tuple[TensorInfo, ...]
    dataset: Dataset
    metrics: tuple[Metric, ...]
    recipe_folder: str
    yardstick: str = FLOAT32

    def one_by_one(self) -> dict[str, Evaluate]:
        """Each model beside the yardstick alone: where all together took the process down, these show which did."""
        base = {self.yardstick: self.models[self.yardstick]}
        return {name: self.model_copy(update={"models": {**base, name: path}}) for name, path in self.models.items()}


class Evaluated(Frozen):
    """One model's figures, or the error that stopped it; ``failed`` are the metrics that have none, with reasons."""

    accuracy: dict[str, Figure] = {}
    classes: Classes | None = None
    fidelity: Fidelity | None = None
    failed: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    error: str | None = None


class Evaluation(Frozen):
    """All models' figures."""

    models: dict[str, Evaluated]
    skipped: tuple[SkippedSample, ...] = ()


WorkingJob: TypeAlias = Union[
    FirstSample, Examine, Calibrate, Prepare, Correct, AuditFile, Evaluate, CompareLayers, CompareOutputs, LookAt
]
RuntimeJob: TypeAlias = Union[Scan, Describe, WorkingJob]
