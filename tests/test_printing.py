"""What is printed into a pipe: no line ends with a blank; a terminal gets the tables as they are."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from click.testing import CliRunner
from rich.console import Console
from test_report_render import REPORT
from tiny_tflite import int8_dense

from tflite_ptq.cli.main import cli
from tflite_ptq.cli.printing import printing
from tflite_ptq.report import files
from tflite_ptq.report.console import render


def ragged(text: str) -> list[str]:
    """The lines that end with a blank."""
    return [line for line in text.splitlines() if line != line.rstrip()]


@pytest.mark.parametrize("width", [60, 80, 200])
def test_a_report_in_a_pipe(width: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    monkeypatch.delenv("FORCE_COLOR", raising=False)
    with printing() as console:
        render(REPORT, console, "out/ic")
    printed = capsys.readouterr().out
    padded = io.StringIO()
    render(REPORT, Console(file=padded, width=width), "out/ic")
    assert ragged(padded.getvalue()), "what is to be taken away is there"
    assert printed == "".join(f"{line.rstrip(' ')}\n" for line in padded.getvalue().splitlines())


def test_a_terminal_gets_every_blank(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    with printing() as console:
        console.print("blanks   ")
    assert "blanks   \n" in capsys.readouterr().out


def test_commands_that_print_tables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FORCE_COLOR", raising=False)
    for name in ("a", "b"):
        files.write(REPORT, tmp_path / name)
    model = int8_dense(tmp_path / "m.tflite")
    for words in (["inspect", str(model)], ["compare", str(tmp_path / "a"), str(tmp_path / "b")]):
        done = CliRunner(env={"COLUMNS": "60"}).invoke(cli, words, catch_exceptions=False)
        assert len(done.output.splitlines()) > 10, words
        assert ragged(done.output) == [], words
