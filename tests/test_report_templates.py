"""Compiled templates: kept where Python keeps its modules', and never in the way."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from jinja2 import Environment

from tflite_ptq.report import markdown, templates

NAME = "summary.md.j2"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    kept = tmp_path / "__pycache__"
    monkeypatch.setattr(templates, "cache_from_source", lambda path: str(kept / "templates.pyc"))
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    return kept


@pytest.fixture
def compiled(monkeypatch: pytest.MonkeyPatch) -> list[str | None]:
    """The templates that were compiled."""
    names: list[str | None] = []
    compile_ = Environment.compile

    def counting(self: Environment, source: str, name: str | None = None, *rest: str | None) -> object:
        names.append(name)
        return compile_(self, source, name, *rest)

    monkeypatch.setattr(Environment, "compile", counting)
    return names


def loaded() -> None:
    markdown._environment.__wrapped__().get_template(NAME)  # as a new process would


def test_compiled_once(folder: Path, compiled: list[str | None]) -> None:
    folder.mkdir()
    loaded()
    loaded()
    assert compiled == [NAME] and [file.suffix for file in folder.iterdir()] == [".j2c"]


@pytest.mark.parametrize("left", [0, 5, 100])
def test_what_was_cut_short_is_compiled_again(left: int, folder: Path, compiled: list[str | None]) -> None:
    folder.mkdir()
    loaded()
    (file,) = folder.iterdir()
    file.write_bytes(file.read_bytes()[:left])
    loaded()
    loaded()
    assert compiled == [NAME] * 2


def test_an_installation_that_cannot_be_written(folder: Path, compiled: list[str | None]) -> None:
    loaded()
    loaded()
    assert compiled == [NAME] * 2 and not folder.exists()


def test_python_is_asked_to_write_none(
    folder: Path, compiled: list[str | None], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder.mkdir()
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    loaded()
    assert compiled == [NAME] and list(folder.iterdir()) == []
