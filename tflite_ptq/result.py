"""What was measured: frozen, units in the names, versioned JSON (the contract that other programs read).

A thing that was not measured is ``None``, never 0. ``change`` and ``speedup`` are against float32 in the same run.
"""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict

Status = Literal["passed", "failed", "error"]
FIXED_RANGE = frozenset({"LOGISTIC", "LOG_SOFTMAX", "L2_NORMALIZATION", "SOFTMAX", "TANH"})
"""Operators whose outputs have a scale that TFLite fixes: no calibration changes what is clipped."""


class Frozen(BaseModel):
    """An immutable record that refuses keys it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Interval(Frozen):
    """An interval of confidence, in the unit of the figure it belongs to."""

    low: float
    high: float
    confidence: float = 0.95


class TensorInfo(Frozen):
    """An input or output of a model. ``shape`` includes the batch dimension; -1 is a dimension left dynamic."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    scale: float | None = None
    zero_point: int | None = None


class ModelInfo(Frozen):
    """The source model, as opened."""

    path: str
    sha256: str
    format: str
    inputs: tuple[TensorInfo, ...]
    outputs: tuple[TensorInfo, ...]


class RecipeInfo(Frozen):
    """Which recipe the run followed; ``sha256`` is of the file, ``overrides`` what ``--set`` changed, ``text`` the
    file's content."""

    name: str
    path: str
    sha256: str
    overrides: tuple[str, ...] = ()
    text: str | None = None


class Environment(Frozen):
    """Where the figures come from."""

    tool: str
    python: str
    platform: str
    machine: str
    cpu: str
    cores: int
    tensorflow: str | None
    ai_edge_litert: str | None
    numpy: str | None


class SkippedSample(Frozen):
    """A sample that was left out because ``on_bad_sample: skip`` says so, with the reason."""

    sample: str
    reason: str


class DatasetInfo(Frozen):
    """What the samples were: how many, and which were left out. The hashes are over names, labels and bytes of those
    chosen; ``None`` where there are none."""

    calibration_samples: int
    evaluation_samples: int
    calibration_left_out: int = 0
    labelled: bool = False
    calibration_sha256: str | None = None
    evaluation_sha256: str | None = None
    skipped: tuple[SkippedSample, ...] = ()
    findings: tuple[str, ...] = ()


class LayerCorrection(Frozen):
    """What became of a correction of one layer, of its bias or its weights, and why. ``layer`` is the name of its
    output tensor."""

    layer: str
    op: str
    status: Literal["kept", "refused", "skipped"]
    reason: str


class Correction(Frozen):
    """Bias correction of one variant; ``method`` is ``None`` where none was kept.

    SQNR of the outputs against float32 in dB, before a last softmax or logistic, mean over the ``held_back_samples``
    calibration samples, each judged by a correction that was not computed on it (``held_back`` false: too few to hold
    any back, so all served twice); ``None`` where the outputs are identical to float32's. ``weights``: what
    other weights did, which are kept or refused as a whole.
    """

    method: Literal["one-pass", "sequential"] | None
    sqnr_before_db: float | None
    sqnr_after_db: float | None
    held_back_samples: int
    held_back: bool
    layers: tuple[LayerCorrection, ...]
    weights: tuple[LayerCorrection, ...] = ()


class Audit(Frozen):
    """What a ``.tflite`` file really holds.

    ``float_ops`` lists the operators that compute in floating point as ``OP (output tensor name)``; quantize and
    dequantize steps at a float input or output are not among them. ``ops`` counts operators by name.
    """

    fully_integer: bool
    input_dtypes: dict[str, str]
    output_dtypes: dict[str, str]
    float_ops: tuple[str, ...]
    ops: dict[str, int]


class Metric(Frozen):
    """One accuracy figure; ``change`` is value minus float32's value.

    ``interval`` is of the value, ``change_interval`` of the change, paired on the same samples. ``p_value`` is of the
    hypothesis that nothing changed, by ``test``: exact McNemar for top-k, a paired bootstrap for the rest. For errors
    ``higher_is_better`` is false.
    """

    value: float
    change: float | None = None
    interval: Interval | None = None
    change_interval: Interval | None = None
    p_value: float | None = None
    test: Literal["mcnemar", "paired-bootstrap"] | None = None
    higher_is_better: bool = True


class ClassResult(Frozen):
    """One class: ``samples`` of it were evaluated. ``recall`` is its per-class accuracy, ``change`` of ``recall``."""

    name: str
    samples: int
    recall: float | None
    precision: float | None = None
    f1: float | None = None
    change: float | None = None


class Regression(Frozen):
    """A sample that float32 had right and the variant has wrong.

    ``margin`` is the score of the class that the variant chose minus its score of the right one: the larger, the worse.
    ``thumbnail`` is a small PNG as a data URI, where the sample is an image.
    """

    sample: str
    expected: str
    predicted: str
    margin: float
    thumbnail: str | None = None


class Classes(Frozen):
    """Classification in detail. ``confusion[i][j]`` counts samples of class i that were taken for class j; it is empty
    where there are more than 100 classes.

    ``regressed`` counts the samples that float32 had right and the variant has wrong, ``mended`` the reverse;
    ``regressions`` are the worst of the former, worst first.
    """

    classes: tuple[ClassResult, ...]
    confusion: tuple[tuple[int, ...], ...]
    regressed: int | None = None
    mended: int | None = None
    regressions: tuple[Regression, ...] = ()


class Fidelity(Frozen):
    """How closely a variant follows float32 on the same samples, without labels.

    ``agreement`` is the share of samples with the same arg max (``None`` where the output is no score vector).
    ``sqnr_db`` is 10 log10(sum of float32^2 / sum of (float32 - variant)^2) over all outputs of all samples;
    ``None`` where it is infinite (``exact`` is then true). ``outputs_sqnr_db``: the same of each output, where there
    are several; ``None`` where it is infinite, left out where float32's output is zero throughout.
    """

    agreement: float | None
    sqnr_db: float | None
    exact: bool = False
    samples: int
    outputs_sqnr_db: dict[str, float | None] = {}


class Latency(Frozen):
    """Timing of single inferences (batch 1) in fresh processes. ``runs`` inferences after the warm-up are counted.

    ``processes`` workers ran one after the other, between those of all other configurations; ``median_ns`` is the
    median of their medians (``process_medians_ns``, in order), ``median_interval_ns`` a bootstrap interval over them.
    ``speedup_interval`` is the paired one of the ratio; where it covers 1 no difference is shown. ``precision`` is half
    the interval's width over the median, ``precise`` whether that is what the recipe asked for. ``percentiles_ns`` maps
    ``"0"``, ``"5"``, ``"25"``, ``"50"``, ``"75"``, ``"95"``, ``"100"`` to nanoseconds over all runs. ``left_ops``
    counts the operators that the delegate left to plain kernels. ``warnings`` say why a figure is to be doubted.
    """

    delegate: str
    threads: int
    runs: int
    median_ns: int
    p90_ns: int
    p99_ns: int
    mean_ns: int
    load_ns: int
    first_ns: int
    peak_memory_bytes: int | None
    delegated_ops: int | None
    total_ops: int | None
    speedup: float | None = None
    processes: int = 1
    process_medians_ns: tuple[int, ...] = ()
    median_interval_ns: Interval | None = None
    speedup_interval: Interval | None = None
    precision: float | None = None
    precise: bool | None = None
    percentiles_ns: dict[str, int] = {}
    arena_bytes: int | None = None
    left_ops: dict[str, int] | None = None
    warnings: tuple[str, ...] = ()


class VariantResult(Frozen):
    """One variant: its file and what is known of it. ``error`` says why a file or a figure is missing."""

    name: str
    scheme: str
    file: str | None = None
    sha256: str | None = None
    size_bytes: int | None = None
    audit: Audit | None = None
    accuracy: dict[str, Metric] | None = None
    classes: Classes | None = None
    fidelity: Fidelity | None = None
    latency: tuple[Latency, ...] | None = None
    correction: Correction | None = None
    notes: tuple[str, ...] = ()
    error: str | None = None


class GateCheck(Frozen):
    """One limit of the recipe's gate. ``measured`` is ``None`` where nothing was measured: then it is not passed.

    With ``confidence`` the limit was held against ``measured`` as the pessimistic end of the interval.
    """

    variant: str
    check: str
    limit: float | bool
    measured: float | bool | None
    passed: bool
    confidence: float | None = None


class Report(Frozen):
    """A whole run. ``warnings`` are of the run as a whole: load on the machine, governor, limits, a damaged cache.
    ``cached`` names the steps whose results an earlier run had left in the cache."""

    format: Literal["tflite-ptq-report/1"] = "tflite-ptq-report/1"
    recipe: RecipeInfo
    environment: Environment
    model: ModelInfo | None
    dataset: DatasetInfo | None
    variants: tuple[VariantResult, ...]
    gate: tuple[GateCheck, ...] = ()
    status: Status
    errors: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    cached: tuple[str, ...] = ()
    durations_s: dict[str, float] = {}
