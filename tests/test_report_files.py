"""report.json and report.md: whole or not at all, and what reading a wrong one says."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path

import pytest

from tflite_ptq.errors import DiskFullError, OutputError, UsageError
from tflite_ptq.report.files import read, write
from tflite_ptq.result import Environment, Metric, RecipeInfo, Report, VariantResult

REPORT = Report(
    recipe=RecipeInfo(name="ic", path="ic.yaml", sha256="ab" * 32),
    environment=Environment(
        tool="0.1.0",
        python="3.11.9",
        platform="Linux",
        machine="x86_64",
        cpu="?",
        cores=2,
        tensorflow="2.21.0",
        ai_edge_litert=None,
        numpy=None,
    ),
    model=None,
    dataset=None,
    variants=(
        VariantResult(name="float32", scheme="float32", size_bytes=9, accuracy={"top1": Metric(value=0.1 + 0.2)}),
        VariantResult(name="量子化", scheme="int8", error="no space"),
    ),
    status="error",
    durations_s={"open": 4.25},
)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_round_trip(tmp_path: Path) -> None:
    write(REPORT, tmp_path / "out" / "ic")
    assert read(tmp_path / "out" / "ic" / "report.json") == REPORT
    assert names(tmp_path / "out" / "ic") == ["report.html", "report.json", "report.md"]


def test_same_report_same_bytes_and_design_keys(tmp_path: Path) -> None:
    write(REPORT, tmp_path)
    first = (tmp_path / "report.json").read_bytes()
    write(REPORT, tmp_path)
    assert (tmp_path / "report.json").read_bytes() == first
    data = json.loads(first)
    assert list(data)[:6] == ["format", "recipe", "environment", "model", "dataset", "variants"]
    assert data["format"] == "tflite-ptq-report/1"
    assert data["variants"][1]["size_bytes"] is None
    assert "量子化" in first.decode()


def test_nan_is_a_bug_and_nothing_is_written(tmp_path: Path) -> None:
    broken = REPORT.variants[0].model_copy(update={"accuracy": {"top1": Metric(value=float("nan"))}})
    with pytest.raises(ValueError, match="Out of range float values"):
        write(REPORT.model_copy(update={"variants": (broken,)}), tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("code", "error", "says"),
    [
        (errno.ENOSPC, DiskFullError, "no space left"),
        (errno.EDQUOT, DiskFullError, "no space left"),
        (errno.EFBIG, DiskFullError, "no space left"),
        (errno.EIO, OutputError, "cannot be written"),
        (errno.EACCES, OutputError, "cannot be written"),
    ],
)
def test_failing_write_keeps_the_old_file_and_leaves_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, error: type[Exception], says: str
) -> None:
    path = tmp_path / "report.json"
    path.write_bytes(b"old")

    def fail(self: Path, data: bytes) -> int:
        with self.open("wb") as file:
            file.write(data[:3])
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(Path, "write_bytes", fail)
    with pytest.raises(error) as caught:
        write(REPORT, tmp_path)
    assert str(caught.value).startswith(f"{path}: {says}")
    assert "--output" in str(caught.value)
    assert names(tmp_path) == ["report.json"]
    assert path.read_bytes() == b"old"


def test_interrupted_write_leaves_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(self: Path, target: Path) -> Path:
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "replace", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write(REPORT, tmp_path)
    assert names(tmp_path) == []


def test_folder_below_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="cannot be written"):
        write(REPORT, tmp_path / "file" / "out")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (None, "report.json: cannot be read (No such file or directory)"),
        ("", "report.json:1:1: not valid JSON"),
        ('{\n  "format": "tflite-ptq-rep', "report.json:2:13: not valid JSON"),
        ("[]", "expected format 'tflite-ptq-report/1', found no 'format' key"),
        (
            '{"format": "tflite-ptq-report/2"}',
            "expected format 'tflite-ptq-report/1', found format 'tflite-ptq-report/2'",
        ),
        ('{"format": "tflite-ptq-report/1"}', "report.json: recipe: Field required (faults: "),
    ],
)
def test_read_what_is_not_a_report(tmp_path: Path, text: str | None, says: str) -> None:
    path = tmp_path / "report.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(UsageError) as caught:
        read(path)
    assert says in str(caught.value)


def test_read_binary(tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    path.write_bytes(b"\x1c\x00\x00\x00TFL3\xff\xfe")
    with pytest.raises(UsageError, match="is not UTF-8 text"):
        read(path)
