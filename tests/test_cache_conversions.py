"""Conversions and the cache: only the new work is done, the same comes out, kills and company do no harm."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import COMMAND, Convert, figures

from tflite_ptq import reporting
from tflite_ptq.report.html.svg import vega_lite

pytestmark = pytest.mark.slow
JOBS = ("open", "convert", "examine", "calibrate", "quantize", "correct", "audit", "evaluate", "start converter")


@pytest.fixture
def recipe(models: Path, images: Path, write_recipe: Callable[..., Path]) -> Path:
    dataset = {
        "format": {"type": "image"},
        "preprocess": [{"color": "gray"}, {"normalize": "0..1"}],
        "calibration": {"path": str(images), "samples": 6, "select": "stratified"},
        "evaluation": {"path": str(images)},
    }
    return write_recipe(models / "tiny.keras", dataset, ["dynamic", "float16", "int8", "int16x8"])


def jobs(asked: list[str]) -> list[str]:
    """Sorted: two children work at the same time."""
    done = sorted(job for job in asked if job in JOBS)
    asked.clear()
    return done


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.glob("*.tflite")}


def test_only_the_new_work_is_done(recipe: Path, convert: Convert, asked: list[str], tmp_path: Path) -> None:
    convert(recipe, "--only", "int8")
    # int8 is quantized three times, with the widest ranges and with two that clip; the closest is corrected.
    first = ["audit"] * 2 + ["calibrate", "convert", "correct", "evaluate", "examine", "open"] + ["quantize"] * 3
    assert jobs(asked) == sorted([*first, "start converter"])
    found = convert(recipe, "--only", "int8", "--only", "float16")
    assert jobs(asked) == ["audit", "convert", "evaluate", "start converter"]  # float16 alone, from the export kept
    assert "int8" in found["cached"] and "float16" not in found["cached"]
    assert "evaluation of int8" in found["cached"] and "evaluation of float16" not in found["cached"]
    whole = convert(recipe)
    new = ["audit"] * 2 + ["convert", "correct", "correct", "evaluate", "quantize", "start converter"]
    assert jobs(asked) == new  # dynamic is converted, int16x8 quantized with the ranges kept
    again = convert(recipe)
    assert jobs(asked) == []
    gated = convert(recipe, "--set", "gate.int8.size.max_bytes=1", code=5)
    assert jobs(asked) == []
    assert gated["variants"] == whole["variants"]
    alone = convert(recipe, "--no-cache")
    assert figures(whole) == figures(again) == figures(alone)
    assert files(tmp_path / "out3") == files(tmp_path / "out4") == files(tmp_path / "out6")
    # Other calibration samples: everything made with them, and float16 is not.
    jobs(asked)
    convert(recipe, "--set", "dataset.calibration.samples=9")
    assert "open" not in asked and asked.count("convert") == 1 and asked.count("quantize") == 3 + 1


def test_a_lost_export_is_made_again(recipe: Path, convert: Convert, asked: list[str], cache: Path) -> None:
    """The signature is whole, the export is not: that is seen when float16 needs it."""
    convert(recipe, "--only", "float32")
    (graph,) = (cache / "entries" / "source").glob("*/saved_model/saved_model.pb")
    graph.write_bytes(graph.read_bytes()[:-1])
    asked.clear()
    found = convert(recipe, "--only", "float16")
    assert [job for job in jobs(asked) if job in ("open", "convert")] == ["convert", "open"]
    assert found["warnings"] == [
        "cache: the entry of source was damaged (saved_model.pb is not as it was written): it was removed and the step "
        "done again"
    ]
    assert found["variants"][1]["error"] is None


def test_plots_are_drawn_once(
    recipe: Path, convert: Convert, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[dict[str, object]] = []

    def counted(spec: dict[str, object]) -> str:
        drawn.append(spec)
        return vega_lite(spec)

    monkeypatch.setattr(reporting, "vega_lite", counted)
    convert(recipe, "--only", "float16")
    convert(recipe, "--only", "float16")
    plots = len(list((cache / "entries" / "plot").iterdir()))
    pages = [(tmp_path / f"out{number}" / "report.html").read_text(encoding="utf-8") for number in (1, 2)]
    assert len(drawn) == plots > 0 and all("<svg" in page for page in pages)
    plot = next((cache / "entries" / "plot").glob("*/answer.json"))
    plot.write_text(plot.read_text(encoding="utf-8").replace("<svg", "<img"), encoding="utf-8")
    (said,) = convert(recipe, "--only", "float16")["warnings"]
    assert said == (
        "cache: the entry of a plot was damaged (answer.json is not as it was written): it was removed and the step "
        "done again"
    )
    page = (tmp_path / "out3" / "report.html").read_text(encoding="utf-8")
    assert said in page and "<svg" in page and "<img" not in page
    assert convert(recipe, "--only", "float16")["warnings"] == [] and len(drawn) == plots + 1


def test_the_converters_own_calibration(recipe: Path, convert: Convert, asked: list[str]) -> None:
    more = ["--only", "int8", "--set", "dataset.calibration.engine=tflite"]
    first = convert(recipe, *more)
    assert "calibrate" not in jobs(asked)
    assert figures(convert(recipe, *more)) == figures(first)
    assert jobs(asked) == []
    convert(recipe, "--only", "int8")
    assert {"calibrate", "quantize"} <= set(jobs(asked))


def command(recipe: Path, out: Path) -> list[str]:
    return [*COMMAND, "convert", str(recipe), "-q", "--only", "int8", "--only", "float16", "--output", str(out)]


def outcome(folder: Path) -> dict[str, Any]:
    report = json.loads((folder / "report.json").read_text(encoding="utf-8"))
    return {"files": files(folder), "variants": report["variants"], "dataset": report["dataset"]}


def test_killed_at_any_moment(recipe: Path, tmp_path: Path) -> None:
    """Each run goes further on what those before left; the last one is as if nothing had been."""
    started = time.monotonic()
    subprocess.run([*command(recipe, tmp_path / "plain"), "--no-cache"], check=True)
    seconds = time.monotonic() - started
    moments = random.Random(3)
    for _ in range(5):
        process = subprocess.Popen(command(recipe, tmp_path / "killed"), start_new_session=True)
        time.sleep(moments.uniform(0.1, seconds))
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    done = subprocess.run(command(recipe, tmp_path / "killed"), capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert outcome(tmp_path / "killed") == outcome(tmp_path / "plain")


def test_two_at_once(recipe: Path, tmp_path: Path) -> None:
    runs = [subprocess.Popen(command(recipe, tmp_path / name), stderr=subprocess.PIPE) for name in ("a", "b")]
    assert [(run.communicate()[1], run.returncode) for run in runs] == [(b"", 0)] * 2
    subprocess.run([*command(recipe, tmp_path / "plain"), "--no-cache"], check=True)
    assert outcome(tmp_path / "a") == outcome(tmp_path / "b") == outcome(tmp_path / "plain")
    assert json.loads((tmp_path / "a" / "report.json").read_text(encoding="utf-8"))["warnings"] == []
