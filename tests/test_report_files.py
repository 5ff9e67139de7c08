"""report.json and what is rendered from it: whole or not at all, and what reading a wrong one says."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path

import pytest

from tflite_ptq.errors import DiskFullError, OutputError, UsageError
from tflite_ptq.report.files import RENDERED, read, read_run, write
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
    assert names(tmp_path / "out" / "ic") == sorted(["report.json", *RENDERED])
    assert {"report.md", "report.html", "junit.xml"} <= set(RENDERED)


def test_a_file_name_that_is_no_utf8(tmp_path: Path) -> None:
    name = os.fsdecode(b"caf\xe9.jpg")
    write(REPORT.model_copy(update={"errors": (f"{name}: truncated",)}), tmp_path)
    assert json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))["errors"] == [f"{name}: truncated"]


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


AGAIN = "run `tflite-ptq convert` again to write it anew"
WHOLE = json.dumps(REPORT.model_dump())
# What stands in report.json (None: nothing) -> what follows the file's name.
DAMAGED = [
    (None, ": cannot be read (No such file or directory); give the report.json of a finished run"),
    ("", f":1:1: not valid JSON (Expecting value); the file is truncated or was edited: {AGAIN}"),
    (
        '{\n  "format": "tflite-ptq-rep',
        f":2:13: not valid JSON (Unterminated string starting at); the file is truncated or was edited: {AGAIN}",
    ),
    ("[]", ": expected format 'tflite-ptq-report/1', found no 'format' key; use the tflite-ptq version that"),
    ('{"format": 1}', ": expected format 'tflite-ptq-report/1', found format 1; use the tflite-ptq version that"),
    (
        WHOLE.replace("report/1", "report/2"),
        ": expected format 'tflite-ptq-report/1', found format 'tflite-ptq-report/2'; use the tflite-ptq version that "
        "wrote it, or run `tflite-ptq convert` again",
    ),
    (
        '{"format": "tflite-ptq-report/1"}',
        ": recipe: Field required (faults: 6); the file was edited or comes from another version of tflite-ptq: "
        f"{AGAIN}",
    ),
    (
        WHOLE.replace('"status": "error"', '"status": "error", "stars": 5'),
        ": stars: Extra inputs are not permitted (faults: 1); the file was edited or comes from another version of "
        f"tflite-ptq: {AGAIN}",
    ),
    (
        WHOLE.replace('"size_bytes": 9', '"size_bytes": "9"'),
        ": variants.0.size_bytes: Input should be a valid integer (faults: 1); the file was edited or is damaged: "
        f"{AGAIN}",
    ),
    (
        WHOLE.replace('"status": "error"', '"status": "great"'),
        ": status: Input should be 'passed', 'failed' or 'error' (faults: 1); the file was edited or is damaged: "
        f"{AGAIN}",
    ),
    (
        WHOLE.replace("4.25", "NaN"),
        f": holds NaN, which JSON has not and no report is written with; the file was edited: {AGAIN}",
    ),
    ("[" * 200_000, ": nested too deeply for a report; give the report.json of a finished run"),
]


@pytest.mark.parametrize(("text", "says"), DAMAGED)
def test_read_what_is_not_a_report(tmp_path: Path, text: str | None, says: str) -> None:
    path = tmp_path / "report.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(UsageError) as caught:
        read(path)
    assert str(caught.value).startswith(f"{path}{says}")


def test_read_with_the_mark_that_windows_editors_write(tmp_path: Path) -> None:
    (tmp_path / "report.json").write_text(WHOLE, encoding="utf-8-sig")
    assert read_run(tmp_path) == REPORT


@pytest.mark.parametrize("run", ["a run", "a run/report.json"])
def test_a_run_is_a_folder_or_its_report(tmp_path: Path, run: str) -> None:
    write(REPORT, tmp_path / "a run")
    assert read_run(tmp_path / run) == REPORT


def test_what_is_no_run(tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        read_run(tmp_path / "gone")
    assert str(caught.value) == (
        f"{tmp_path}/gone: no such run; give the folder that `tflite-ptq convert` wrote, or its report.json"
    )
    with pytest.raises(UsageError) as caught:
        read_run(tmp_path)
    assert str(caught.value) == (
        f"{tmp_path}: holds no report.json; give the folder that `tflite-ptq convert` wrote (it names it at the end: "
        "'Files in ...')"
    )


def test_read_binary(tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    path.write_bytes(b"\x1c\x00\x00\x00TFL3\xff\xfe")
    with pytest.raises(UsageError, match="is not UTF-8 text"):
        read(path)
