"""Runs one after another on one cache: what is done again, what comes out, what is said. Without TensorFlow."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from conftest import Command, Convert, figures

STEPS = ["source", "float32", "audit of float32", "evaluation of float32"]


LABELS = "".join(f"{i:02}.npy,{i % 4}\n" for i in range(12))


@pytest.fixture
def recipe(relu: Path, vectors: Path, tmp_path: Path, write_recipe: Callable[..., Path]) -> Path:
    """The .tflite at hand is its own source: everything but conversions runs."""
    (tmp_path / "labels.csv").write_text(LABELS)
    shutil.copy(relu, tmp_path / "relu.tflite")
    dataset = {"format": {"type": "npy"}, "evaluation": {"path": str(vectors), "labels": str(tmp_path / "labels.csv")}}
    return write_recipe(tmp_path / "relu.tflite", dataset)


WORK = ["audit", "evaluate"]


def work(asked: list[str]) -> list[str]:
    """The jobs that the cache saves, in order."""
    done = [job for job in asked if job in ("open", "convert", "quantize", "examine", "calibrate", "correct", *WORK)]
    asked.clear()
    return done


def test_the_second_run_measures_nothing(recipe: Path, convert: Convert, asked: list[str]) -> None:
    first = convert(recipe)
    assert first["cached"] == [] and work(asked) == WORK
    second = convert(recipe)
    assert asked == ["start runtime", "describe", "scan"]
    assert second["cached"] == STEPS[1:]
    assert figures(second) == figures(first)
    assert "From the cache: float32, audit of float32, evaluation of float32\n" in second["console"]
    assert "From the cache" not in first["console"]
    assert second["variants"][0]["accuracy"]["top1"]["value"] == 1.0


def test_no_cache_neither_looks_nor_keeps(
    recipe: Path, convert: Convert, asked: list[str], cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    convert(recipe, "--no-cache")
    assert list(cache.iterdir()) == []
    convert(recipe)
    asked.clear()
    assert convert(recipe, "--no-cache")["cached"] == []
    assert work(asked) == WORK
    monkeypatch.setenv("TFLITE_PTQ_NO_CACHE", "1")
    assert convert(recipe)["cached"] == []


def test_another_folder(recipe: Path, convert: Convert, cache: Path, tmp_path: Path) -> None:
    convert(recipe, "--cache-dir", tmp_path / "my cache")
    assert list(cache.iterdir()) == []
    assert convert(recipe, "--cache-dir", tmp_path / "my cache")["cached"] == STEPS[1:]


def relabel(folder: Path) -> None:
    (folder / "labels.csv").write_text(LABELS.replace("03.npy,3", "03.npy,2"))


def other_sample(folder: Path) -> None:
    np.save(folder / "vectors" / "05.npy", np.float32([1, 2, 3, 4]))


def other_model(folder: Path) -> None:
    """A byte more at the end: the same model, but not the same file."""
    with (folder / "relu.tflite").open("ab") as file:
        file.write(b"\0")


def same_bytes(folder: Path) -> None:
    """Written again later: neither times nor inodes are content."""
    for file in (folder / "vectors").iterdir():
        data = file.read_bytes()
        file.unlink()
        file.write_bytes(data)


def setting(*overrides: str) -> list[str]:
    return [word for override in overrides for word in ("--set", override)]


# what is changed, options of the second run, what it then does, its exit code
SECOND: list[tuple[str, Callable[[Path], None] | None, list[str], list[str], int]] = [
    ("gate", None, setting("gate.float32.size.max_bytes=1"), [], 5),
    ("name", None, setting("name=other"), [], 0),
    ("timeout", None, setting("timeout_s=99"), [], 0),
    ("same bytes", same_bytes, [], [], 0),
    ("all samples", None, setting("dataset.evaluation.samples=12"), [], 0),
    ("fewer samples", None, setting("dataset.evaluation.samples=11"), ["audit", "evaluate"], 0),
    ("metrics", None, setting("benchmark.accuracy.metrics=[top1, mse]"), ["evaluate"], 4),
    ("a label", relabel, [], ["audit", "evaluate"], 0),
    ("a sample", other_sample, [], ["audit", "evaluate"], 0),
    ("the model", other_model, [], ["audit", "evaluate"], 0),
    ("preprocessing", None, setting("dataset.preprocess=[{normalize: {mean: 1, std: 1}}]"), ["audit", "evaluate"], 0),
]


@pytest.mark.parametrize(("change", "more", "does", "code"), [s[1:] for s in SECOND], ids=[s[0] for s in SECOND])
def test_what_a_change_costs(
    change: Callable[[Path], None] | None,
    more: list[str],
    does: list[str],
    code: int,
    recipe: Path,
    convert: Convert,
    asked: list[str],
    tmp_path: Path,
) -> None:
    convert(recipe)
    asked.clear()
    if change is not None:
        change(tmp_path)
    found = convert(recipe, *more, code=code)
    assert work(asked) == does
    assert figures(convert(recipe, *more, "--no-cache", code=code)) == figures(found)


def test_figures_that_could_not_be_had_are_not_kept(recipe: Path, convert: Convert, asked: list[str]) -> None:
    more = setting("benchmark.accuracy.metrics=[top1, mse]")
    first = convert(recipe, *more, code=4)
    asked.clear()
    assert figures(convert(recipe, *more, code=4)) == figures(first)
    assert work(asked) == ["evaluate"]


def test_a_damaged_entry_is_done_again_and_said(recipe: Path, convert: Convert, asked: list[str], cache: Path) -> None:
    first = convert(recipe)
    (answer,) = (cache / "entries" / "evaluation").glob("*/answer.json")
    text = answer.read_text(encoding="utf-8")
    assert '"value":1.0' in text
    answer.write_text(text.replace('"value":1.0', '"value":0.5'), encoding="utf-8")
    (model,) = (cache / "entries" / "float32").glob("*/model.tflite")
    model.write_bytes(b"")
    asked.clear()
    second = convert(recipe)
    assert work(asked) == ["evaluate"]  # the float .tflite is only copied
    assert figures(second) == figures(first)
    said = [
        f"cache: the entry of {step} was damaged ({file} is not as it was written): it was removed and the step done "
        "again"
        for step, file in (("float32", "model.tflite"), ("evaluation of float32", "answer.json"))
    ]
    assert second["warnings"] == said
    assert all(warning in " ".join(second["console"].split()) for warning in said)
    third = convert(recipe)
    assert third["warnings"] == [] and third["cached"] == STEPS[1:]


def test_skipped_samples_come_out_the_same(
    recipe: Path, convert: Convert, asked: list[str], vectors: Path, tmp_path: Path
) -> None:
    (vectors / "04.npy").write_bytes(b"spoilt")
    more = setting("dataset.on_bad_sample=skip")
    first = convert(recipe, *more)
    (skipped,) = first["dataset"]["skipped"]
    assert skipped["sample"] == "04.npy" and str(vectors / "04.npy") in skipped["reason"]
    assert figures(convert(recipe, *more)) == figures(first)
    asked.clear()
    # Elsewhere the reason names another path, so what names one is done again.
    vectors.rename(tmp_path / "moved")
    moved = convert(recipe, *more, *setting(f"dataset.evaluation.path={tmp_path / 'moved'}"))
    assert work(asked) == ["evaluate"]
    assert str(tmp_path / "moved" / "04.npy") in moved["dataset"]["skipped"][0]["reason"]


def test_moved_samples_are_found_again(
    recipe: Path, convert: Convert, asked: list[str], vectors: Path, tmp_path: Path
) -> None:
    convert(recipe)
    asked.clear()
    vectors.rename(tmp_path / "moved")
    convert(recipe, *setting(f"dataset.evaluation.path={tmp_path / 'moved'}"))
    assert work(asked) == []


def test_a_metric_of_the_users(recipe: Path, convert: Convert, asked: list[str], tmp_path: Path) -> None:
    metric = tmp_path / "mine.py"
    metric.write_text("def score(outputs, labels): return 1.0\n")
    more = setting("benchmark.accuracy.metrics=[mine:score]")

    def value() -> float:
        found: float = convert(recipe, *more)["variants"][0]["accuracy"]["mine:score"]["value"]
        return found

    assert value() == 1.0
    asked.clear()
    assert value() == 1.0
    assert work(asked) == []
    time.sleep(0.01)  # Python compares a module's time and size with those of its compiled file
    metric.write_text("def score(outputs, labels): return 22.0\n")
    assert value() == 22.0


def test_latency_is_never_cached(recipe: Path, convert: Convert, asked: list[str]) -> None:
    more = setting("benchmark.latency={delegates: [cpu], runs: 5, warmup: 0}")
    convert(recipe, *more)
    asked.clear()
    found = convert(recipe, *more)
    assert "TimeFile" in asked and found["variants"][0]["latency"]


def test_the_size_cap(recipe: Path, convert: Convert, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TFLITE_PTQ_CACHE_MAX_MIB", "0")
    convert(recipe)
    assert not list((cache / "entries").glob("*/*"))
    assert convert(recipe)["cached"] == []


def test_show_and_clear(recipe: Path, convert: Convert, run: Command, cache: Path) -> None:
    shown = run("cache", "show")
    assert (shown.code, shown.out) == (0, f"{cache}\n0 entries, 0 B of at most 5120.00 MiB\n")
    convert(recipe)
    shown = run("cache", "show")
    total = sum(file.stat().st_size for file in (cache / "entries").rglob("*") if file.is_file())
    assert shown.out.splitlines()[1] == f"3 entries, {total / 1024:.1f} KiB of at most 5120.00 MiB"
    kinds = [line.split()[:2] for line in shown.out.splitlines()[5:]]
    assert kinds == [["audit", "1"], ["evaluation", "1"], ["float32", "1"]]
    cleared = run("cache", "clear")
    assert (cleared.code, cleared.out) == (0, f"{cache}: 3 entries removed, {total / 1024:.1f} KiB\n")
    assert list(cache.iterdir()) == []
    assert convert(recipe)["cached"] == []
