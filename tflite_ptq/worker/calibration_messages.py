"""What the pipeline asks of a child process about calibration samples: ranges, weights, biases, and the samples."""

from __future__ import annotations

from typing import Literal

from tflite_ptq.recipe.dataset import Dataset, RangeMethod
from tflite_ptq.recipe.schema import Variant, Weights
from tflite_ptq.result import Correction, Frozen, LayerCorrection, SkippedSample, TensorInfo

MOST_EXAMINED = 100
"""Evaluation samples that a run looks at to judge the calibration samples by."""


class Settle(Frozen):
    """Put the ranges that TensorFlow's calibrator reads of some ``samples``, by name, in the place of those in
    ``calibrated``, made of the float file ``model``."""

    job: Literal["settle"] = "settle"
    model: str
    calibrated: str
    inputs: tuple[TensorInfo, ...]
    dataset: Dataset
    samples: tuple[str, ...]


class Settled(Frozen):
    """``kept`` says why the ranges are still those that were there."""

    seconds: float
    kept: str | None = None


class Calibrate(Frozen):
    """Run the float file ``model`` over the calibration samples and write it with its ranges to ``target``."""

    job: Literal["calibrate"] = "calibrate"
    model: str
    inputs: tuple[TensorInfo, ...]
    dataset: Dataset
    target: str


class Calibrated(Frozen):
    """``unserved`` says why this engine cannot calibrate the model; there is no file then. ``decisive``: the names of
    the samples that brought the limits, where the recipe asks for the converter's own ranges. ``refused``: why XNNPACK
    did not run the model, where LiteRT's plain kernels did."""

    unserved: str | None = None
    skipped: tuple[SkippedSample, ...] = ()
    findings: tuple[str, ...] = ()
    calibration_s: float | None = None
    decisive: tuple[str, ...] = ()
    refused: str | None = None

    def settling(self, request: Calibrate) -> Settle | None:
        """What is left to ask of the converter before the file that ``request`` made is quantized."""
        if not self.decisive:
            return None
        return Settle(
            model=request.model,
            calibrated=request.target,
            inputs=request.inputs,
            dataset=request.dataset,
            samples=self.decisive,
        )


class Examine(Frozen):
    """Look at the calibration samples, and at ``most_evaluation`` of the others, a yardstick for them. ``model``
    is the source, or the float file made from it."""

    job: Literal["examine"] = "examine"
    model: str
    inputs: tuple[TensorInfo, ...]
    dataset: Dataset
    most_evaluation: int = MOST_EXAMINED


class Examined(Frozen):
    """What was found, a sentence each."""

    findings: tuple[str, ...] = ()


class Prepare(Frozen):
    """Calibrate the float file ``model`` with its ``weights`` put on the variant's grid, by each of ``methods``
    (``None``: the dataset's) in one pass over the samples: to the ``targets`` in the same order, with ranges; and to
    ``reference`` the float model that computes the same but for rounding. ``ranged``: the same file with ranges by the
    one method, to be taken where no layers are equalized."""

    job: Literal["prepare"] = "prepare"
    model: str
    variant: Variant
    weights: Weights
    methods: tuple[RangeMethod | None, ...]
    ranged: str | None = None
    targets: tuple[str, ...]
    reference: str
    inputs: tuple[TensorInfo, ...]
    dataset: Dataset


class Prepared(Frozen):
    """What was done to the weights layer by layer, and how many ``pairs`` of layers were equalized; where nothing was,
    what evaluation samples leave of the ranges of each target, a sentence or none."""

    saturation: tuple[str, ...] = ()
    layers: tuple[LayerCorrection, ...] = ()
    pairs: int = 0

    def done_of(self, asked: Weights) -> Weights:
        """``asked`` less the equalization that no pair of layers had."""
        return asked if self.pairs else asked.model_copy(update={"equalize": False})


class Correct(Frozen):
    """Correct the biases of the quantized file ``model`` in place, against the float file ``reference``; of one of
    ``others`` instead, where that is surely closer: the same model with other ranges. ``in_turn``: each part of few
    samples may be held back in its turn, as the file was not made by looking at the others."""

    job: Literal["correct"] = "correct"
    reference: str
    model: str
    others: tuple[str, ...] = ()
    in_turn: bool = True
    judge_only: bool = False
    methods: tuple[Literal["one-pass", "sequential"], ...]
    inputs: tuple[TensorInfo, ...]
    dataset: Dataset


class Corrected(Frozen):
    """What the correction did; ``None`` with the reason where it could not work on the model. ``closeness_db``: the
    SQNR of the outputs afterwards, by sample held back. ``tried_db``: its mean for the file and each of the others,
    before layers are taken back (``None``: NaN or infinity); ``chosen``: the place of the one kept. ``refused``: why
    XNNPACK did not run the model, where LiteRT's plain kernels did."""

    correction: Correction | None = None
    closeness_db: tuple[float, ...] = ()
    tried_db: tuple[float | None, ...] = ()
    chosen: int = 0
    unserved: str | None = None
    refused: str | None = None
