"""Preprocessing steps as a recipe writes them."""

from __future__ import annotations

from typing import Any

from tflite_ptq.recipe.dataset import Step


def steps(*written: dict[str, Any]) -> tuple[Step, ...]:
    return tuple(Step.model_validate(step) for step in written)
