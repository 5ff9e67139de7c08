"""What ``debug`` found about one variant: frozen, units in the names, versioned JSON (``debug.json``).

A thing that was not measured is ``None``, never 0. Every SQNR is 10 log10(sum of float32^2 / sum of (float32 -
quantized)^2) in dB; where there is no noise at all it is infinite, written as ``None`` with ``exact`` true.
"""

from __future__ import annotations

from typing import Literal

from pydantic import JsonValue

from tflite_ptq.result import Environment, Frozen, RecipeInfo


class Closeness(Frozen):
    """How close a model's outputs (or a tensor) are to float32's on the same samples; ``error`` says why it is not
    known. ``non_finite``: they hold NaN or infinity, which is further than any number says."""

    sqnr_db: float | None = None
    exact: bool = False
    error: str | None = None
    non_finite: bool = False

    @property
    def noise(self) -> float | None:
        """Noise over signal, 10^(-sqnr_db / 10); 0 where exact, ``None`` where not known."""
        if self.exact:
            return 0.0
        return None if self.sqnr_db is None else float(10 ** (-self.sqnr_db / 10))


class TensorError(Frozen):
    """One activation, float32 against quantized, in real values over all samples.

    ``mean_error`` is the mean of quantized - float32; ``bias_share`` (0..1) is the part of the noise that the mean
    error of each channel makes up, which is what a bias can take back. ``clipped_below`` and ``clipped_above`` are the
    shares (0..1) of values that the integer limits cut off. ``crest_factor`` is the largest magnitude over the root
    mean square of the float32 values.
    """

    tensor: str
    closeness: Closeness
    mean_error: float | None = None
    max_error: float | None = None
    bias_share: float | None = None
    clipped_below: float | None = None
    clipped_above: float | None = None
    crest_factor: float | None = None

    @property
    def clipped(self) -> float | None:
        """The share clipped on either side."""
        if self.clipped_below is None or self.clipped_above is None:
            return None
        return self.clipped_below + self.clipped_above


class LayerDebug(Frozen):
    """One operator of the float model, by the name of its first output.

    ``exclude`` is a pattern for a recipe's ``exclude`` that names it alone (``None``: its name is shared).
    ``alone``: the model's outputs where only this layer is quantized. ``spared``: where all but this layer are, with
    ``gain_db`` over the whole variant. ``error_share`` (0..1): its noise alone over the sum of all layers' noise alone.
    ``skipped`` says why sensitivity was not measured.
    """

    name: str
    op: str
    exclude: str | None
    output: TensorError
    weight_sqnr_db: float | None = None
    alone: Closeness | None = None
    spared: Closeness | None = None
    gain_db: float | None = None
    error_share: float | None = None
    skipped: str | None = None

    @property
    def breaks(self) -> bool:
        """Whether it alone, quantized, makes the outputs NaN or infinite."""
        return self.alone is not None and self.alone.non_finite

    @property
    def label(self) -> str:
        """A name short enough to read."""
        return self.exclude or self.name


class MethodTrial(Frozen):
    """The variant with its activation ranges chosen by another calibration method."""

    method: str
    closeness: Closeness


class WeightsTrial(Frozen):
    """The variant with its weights put on the integer grid another way: ``weights`` as a recipe writes it, and in
    words."""

    way: str
    weights: dict[str, JsonValue]
    closeness: Closeness


class ExclusionTrial(Frozen):
    """The variant with these layers left in float."""

    exclude: tuple[str, ...]
    closeness: Closeness


class CorrectionTrial(Frozen):
    """The variant after bias correction; ``method`` is ``None`` where none was kept, ``unserved`` says why none could
    be tried."""

    setting: str
    method: str | None = None
    closeness: Closeness | None = None
    unserved: str | None = None


class Advice(Frozen):
    """A sentence, and what to paste into the recipe where there is something to paste."""

    text: str
    yaml: str | None = None


class DebugReport(Frozen):
    """A whole run of ``debug``. ``layers`` are ranked by the error that they bring, worst first.

    ``entry`` is the variant as the recipe writes it. ``whole`` is the variant without bias correction and with
    its weights rounded to nearest, as are all trials but those of the two: ``correction`` and ``weights``.
    ``model_sha256`` is of the source model, as in a run's report.
    """

    format: Literal["tflite-ptq-debug/1"] = "tflite-ptq-debug/1"
    recipe: RecipeInfo
    environment: Environment
    model: str
    model_sha256: str | None = None
    variant: str
    entry: dict[str, JsonValue]
    samples: int
    subset: Literal["evaluation", "calibration"]
    method: str
    auto_tried: tuple[str, ...] = ()
    """The methods among which ``method: auto`` found ``method``; empty where it did not look."""
    whole: Closeness
    inputs: tuple[TensorError, ...]
    layers: tuple[LayerDebug, ...]
    correction: CorrectionTrial
    methods: tuple[MethodTrial, ...]
    weights: tuple[WeightsTrial, ...] = ()
    exclusions: tuple[ExclusionTrial, ...]
    advice: tuple[Advice, ...] = ()
    duration_s: float
