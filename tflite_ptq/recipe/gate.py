"""The recipe's ``gate``: limits that decide the exit code."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field, NonNegativeFloat, PositiveFloat, PositiveInt

from tflite_ptq.recipe.strict import Strict

_CONFIDENCE = 0.95
Share = Annotated[float, Field(ge=0, le=1)]


def _measured(confidence: float) -> float:
    if confidence != _CONFIDENCE:
        raise ValueError(f"intervals are measured at {_CONFIDENCE}; write {_CONFIDENCE}, or leave it out for the value")
    return confidence


Confidence = Annotated[float, AfterValidator(_measured)]
"""Holds limits against the pessimistic end of the interval instead of the value."""


class AccuracyLimits(Strict):
    """``max_drop`` is against float32 in the metric's own unit (0.01 = one point of top-1); for an error (mae, mse)
    a drop is a rise. ``metric`` defaults to the first one measured. ``min``/``max`` bound the value itself."""

    metric: str | None = None
    max_drop: NonNegativeFloat | None = None
    min: float | None = None
    max: float | None = None
    confidence: Confidence | None = Field(None, description="0.95: the pessimistic end of the interval must keep it")


class FidelityLimits(Strict):
    """How closely the variant must follow float32."""

    min_agreement: Share | None = None
    min_sqnr_db: float | None = None


class SizeLimits(Strict):
    """``max_ratio`` is the file's size over float32's."""

    max_ratio: PositiveFloat | None = None
    max_bytes: PositiveInt | None = None


class LatencyLimits(Strict):
    """Must hold in every measured configuration, or in those of ``delegate`` and ``threads`` where given."""

    min_speedup: PositiveFloat | None = None
    max_median_ms: PositiveFloat | None = None
    confidence: Confidence | None = Field(None, description="0.95: the pessimistic end of the interval must keep it")
    delegate: str | None = None
    threads: PositiveInt | None = None


class GateLimits(Strict):
    """The limits of one variant."""

    accuracy: AccuracyLimits | None = None
    fidelity: FidelityLimits | None = None
    size: SizeLimits | None = None
    latency: LatencyLimits | None = None
    fully_integer: bool | None = None
