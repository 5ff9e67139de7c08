"""Every recipe of configs/ loads, from the environment variables that its comments name."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from tflite_ptq.recipe.loader import load

CONFIGS = sorted((Path(__file__).parent.parent / "configs").glob("*.yaml"))
REAL_DATA = Path(os.environ.get("TFLITE_PTQ_REAL_DATA", CONFIGS[0].parents[2] / "shared" / "data")).absolute()
MLPERF_TINY = {"ic", "kws", "vww", "ad", "sww"}


@pytest.fixture(autouse=True)
def _variables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("TFLITE_PTQ_REAL_DATA", "IMAGENET_DIR", "DIGITS_DIR", "MODEL_PATH"):
        monkeypatch.setenv(name, str(tmp_path / name))


def test_there_is_one_for_each_use() -> None:
    assert {path.stem for path in CONFIGS} == MLPERF_TINY | {"digits", "imagenet"}


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_loads(path: Path, tmp_path: Path) -> None:
    recipe = load(path).recipe
    assert recipe.name == path.stem
    assert [variant.scheme for variant in recipe.variants] == ["dynamic", "float16", "int8", "int16x8"]
    assert recipe.variants[2].io == "int8" and recipe.gate["int8"].fully_integer
    assert recipe.model.path.startswith(str(tmp_path))
    assert recipe.dataset is not None and recipe.dataset.calibration is not None
    assert recipe.dataset.evaluation is not None
    text = path.read_text(encoding="utf-8")
    comments = "\n".join(re.findall(r"#.*", text))
    assert all(name in comments for name in re.findall(r"\$\{(\w{5,})\}", text))


@pytest.mark.skipif(not REAL_DATA.is_dir(), reason=f"no real data at {REAL_DATA}; set TFLITE_PTQ_REAL_DATA")
@pytest.mark.parametrize("name", sorted(MLPERF_TINY))
def test_mlperf_tiny_paths_exist(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TFLITE_PTQ_REAL_DATA", str(REAL_DATA))
    recipe = load(next(path for path in CONFIGS if path.stem == name)).recipe
    assert recipe.dataset is not None and recipe.dataset.calibration is not None
    assert recipe.dataset.evaluation is not None
    named = [recipe.model.path, recipe.dataset.calibration.path, recipe.dataset.evaluation.path]
    labels = recipe.dataset.calibration.labels
    named += [labels] if isinstance(labels, str) and labels != "none" else []
    assert [path for path in named if not Path(path).exists()] == []
