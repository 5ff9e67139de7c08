"""``tflite-ptq report``: renders again from report.json alone, and says what is wrong with what is not a run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import Command
from html_report import DEBUG, REPORT

from tflite_ptq.report import debug_files, files


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def test_it_writes_what_the_run_wrote(run: Command, tmp_path: Path) -> None:
    folder = tmp_path / "out dir ü"
    files.write(REPORT, folder)
    whole = contents(folder)
    assert sorted(whole) == sorted(files.NAMES)
    for name in files.RENDERED:
        (folder / name).unlink()
    ended = run("report", folder)
    assert (ended.code, ended.err) == (0, "")
    assert ended.out == f"{folder}: {', '.join(files.RENDERED)}\n"
    assert contents(folder) == whole


def test_a_report_elsewhere_and_quietly(run: Command, tmp_path: Path) -> None:
    files.write(REPORT, tmp_path / "run")
    ended = run("report", tmp_path / "run" / "report.json", "--output", tmp_path / "pages", "-q")
    assert (ended.code, ended.out, ended.err) == (0, "", "")
    assert sorted(contents(tmp_path / "pages")) == sorted(files.RENDERED)


def test_it_takes_in_what_debug_found_since(run: Command, tmp_path: Path) -> None:
    files.write(REPORT, tmp_path / "run")
    assert "Error by layer" not in (tmp_path / "run" / "report.html").read_text(encoding="utf-8")
    debug_files.write(DEBUG, tmp_path / "run" / "debug")
    assert run("report", tmp_path / "run").code == 0
    assert "Error by layer" in (tmp_path / "run" / "report.html").read_text(encoding="utf-8")


@pytest.fixture
def finished(relu: Path, vectors: Path, tmp_path: Path, run: Command, write_recipe: Callable[..., Path]) -> Path:
    dataset = {"format": {"type": "npy"}, "evaluation": {"path": str(vectors)}}
    assert run("convert", write_recipe(relu, dataset), "--output", tmp_path / "run", "-q").code == 0
    return tmp_path / "run"


@pytest.mark.parametrize("lost", [None, "manifest.json"])
def test_a_rendered_run_is_still_a_whole_one(run: Command, finished: Path, lost: str | None) -> None:
    (finished / "report.md").write_text("rendered by an older version", encoding="utf-8")
    assert run("verify", finished).code == 3
    assert run("report", finished).code == 0
    assert run("verify", finished).code == 0
    if lost:
        (finished / lost).unlink()
        assert run("report", finished).code == 0
        assert not (finished / lost).exists()


def test_a_report_tampered_with_is_not_made_whole(run: Command, finished: Path) -> None:
    text = (finished / "report.json").read_text(encoding="utf-8")
    (finished / "report.json").write_text(text.replace('"name": "t"', '"name": "u"'), encoding="utf-8")
    assert run("report", finished).code == 0
    ended = run("verify", finished)
    assert ended.code == 3
    assert "report.json: changed" in ended.err and "report.md: changed" in ended.err


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (None, "run: holds no report.json; give the folder that `tflite-ptq convert` wrote"),
        ('{"format": "tflite-ptq-report/1", "rec', "report.json:1:35: not valid JSON"),
        ('{"format": "tflite-ptq-report/9"}', "found format 'tflite-ptq-report/9'; use the tflite-ptq version"),
    ],
)
def test_what_is_not_a_run(run: Command, tmp_path: Path, text: str | None, says: str) -> None:
    (tmp_path / "run").mkdir()
    if text is not None:
        (tmp_path / "run" / "report.json").write_text(text)
    ended = run("report", tmp_path / "run")
    assert ended.code == 2
    assert says in ended.message
    assert not (tmp_path / "run" / "report.html").exists()
