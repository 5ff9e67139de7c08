"""A recipe that loads, for tests that change it, and what comes of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tflite_ptq.errors import RecipeError, UsageError
from tflite_ptq.recipe.loader import load
from tflite_ptq.recipe.schema import Recipe

VALID = """\
version: 1
name: kws
model: {path: model.keras}
dataset:
  format: {type: image}
  calibration: {path: images}
  evaluation: {path: images, labels: folders}
variants:
  - dynamic
  - {scheme: int8, io: int8}
benchmark:
  accuracy: {metrics: [top1]}
  latency: {delegates: [cpu], threads: 1}
gate:
  int8: {accuracy: {max_drop: 1e-2}, fully_integer: true}
"""
SCHEMES = "(dynamic, float16, int8, int16x8)"


def settle(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Work in ``folder``, with the variables that the recipes speak of."""
    monkeypatch.chdir(folder)
    monkeypatch.setenv("HERE_DIR", "/data/here")
    monkeypatch.setenv("RELATIVE_DIR", "beside")
    monkeypatch.setenv("EMPTY_DIR", "")
    monkeypatch.delenv("NO_SUCH_DIR", raising=False)


def recipe(text: str, *overrides: str) -> Recipe:
    """What ``text`` says, as ``r.yaml``."""
    Path("r.yaml").write_text(text, encoding="utf-8")
    return load(Path("r.yaml"), overrides).recipe


def faults(text: str, *overrides: str) -> list[str]:
    """The message that it is refused with, line by line."""
    with pytest.raises((RecipeError, UsageError)) as caught:
        recipe(text, *overrides)
    return str(caught.value).splitlines()
