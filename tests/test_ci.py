"""What convert tells CI systems: annotations, step summary, code quality; nothing where there is none."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from conftest import Command
from test_complaints import runner_reads

Recipe = Callable[..., Path]


@pytest.fixture
def recipe(tmp_path: Path, relu: Path) -> Path:
    """A recipe in a folder with a space and a comma, with one limit that is kept and one that is broken."""
    path = tmp_path / "re po" / "a,b" / "réçipe.yaml"
    path.parent.mkdir(parents=True)
    path.write_text(
        f"version: 1\nname: t\nmodel: {{path: {json.dumps(str(relu))}}}\nvariants: []\n"
        "benchmark: {latency: null}\ngate:\n  float32:\n    size:\n      max_ratio: 1\n      max_bytes: 100\n",
        encoding="utf-8",
    )
    return path


def annotations(err: str) -> list[tuple[dict[str, str], str]]:
    return [runner_reads(line) for line in err.splitlines() if line.startswith("::")]


def test_without_a_ci_system_nothing_is_said(recipe: Path, run: Command, tmp_path: Path) -> None:
    ended = run("convert", recipe)
    assert (ended.code, ended.err) == (5, "")
    assert not (tmp_path / "out" / "t" / "gl-code-quality.json").exists()


def test_github_annotates_on_stderr_and_json_stays_json(
    recipe: Path, run: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.setenv("GITHUB_WORKSPACE", str(tmp_path / "re po"))
    ended = run("convert", recipe, "--json")
    assert ended.code == 5
    report = json.loads(ended.out)
    ((properties, message),) = annotations(ended.err)
    assert properties == {"file": "a,b/réçipe.yaml", "line": "10", "title": "tflite-ptq: float32 size.max_bytes"}
    measured = f"{report['variants'][0]['size_bytes']:,} B"
    assert message == f"float32: size.max_bytes is broken (limit: at most 100 B; measured: {measured})"
    assert "::" not in ended.out


def test_a_kept_gate_is_not_annotated(recipe: Path, run: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    ended = run("convert", recipe, "--set", "gate.float32.size.max_bytes=10000")
    assert (ended.code, ended.err) == (0, "")


def test_faults_of_a_recipe_are_annotated_at_their_lines(
    recipe: Path, run: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.setenv("GITHUB_WORKSPACE", str(tmp_path / "re po"))
    recipe.write_text(recipe.read_text(encoding="utf-8").replace("name: t", "nmae: t"), encoding="utf-8")
    ended = run("check", recipe)
    assert ended.code == 2 and ended.err.startswith(f"error: {recipe}:1: name: missing")
    assert [(found["file"], found["line"]) for found, _ in annotations(ended.err)] == [
        ("a,b/réçipe.yaml", "1"),
        ("a,b/réçipe.yaml", "2"),
    ]


def test_what_stops_a_run_is_annotated_once(recipe: Path, run: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    ended = run("convert", recipe, "--set", "model.path=gone.tflite")
    assert ended.code == 3
    ((properties, message),) = annotations(ended.err)
    assert (properties, message) == ({"title": "tflite-ptq"}, ended.err.partition("::")[0].strip()[len("error: ") :])


def test_a_run_that_was_stopped_tells_what_it_finished(
    relu: Path, vectors: Path, run: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write_recipe: Recipe
) -> None:
    np.save(vectors / "11.npy", np.full(4, np.nan, np.float32))
    dataset = {"format": {"type": "npy"}, "evaluation": {"path": str(vectors)}}
    recipe = write_recipe(relu, dataset, gate={"float32": {"size": {"max_bytes": 100}}})
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(tmp_path / "summary.md"))
    ended = run("convert", recipe)
    assert ended.code == 3 and "11.npy: input 'x': 4 of 4 values are not finite" in ended.err
    (limit, first), (stop, second) = annotations(ended.err)
    assert first.startswith("float32: size.max_bytes is broken") and limit["line"] == "1"
    assert stop == {"title": "tflite-ptq"} and second.startswith(f"{vectors}/11.npy: input 'x'")
    text = (tmp_path / "summary.md").read_text(encoding="utf-8")
    assert text.startswith("# t: error\n") and "11.npy: input" in text and "| float32 |" in text


def test_summaries_of_one_step_are_appended_up_to_what_github_takes(
    recipe: Path, run: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    summary = tmp_path / "sum mary.md"
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(summary))
    for name, value in {"SERVER_URL": "https://github.com", "REPOSITORY": "o/r", "RUN_ID": "7", "SHA": "abc"}.items():
        monkeypatch.setenv(f"GITHUB_{name}", value)
    monkeypatch.setenv("GITHUB_WORKSPACE", str(tmp_path / "re po"))
    summary.write_text("# of another tool\n", encoding="utf-8")
    assert run("convert", recipe, "-q").code == 5
    text = summary.read_text(encoding="utf-8")
    assert text.startswith("# of another tool\n# t: failed\n")
    assert "| float32 | `size.max_bytes` | at most 100 B |" in text
    assert "](https://github.com/o/r/blob/abc/a%2Cb/r%C3%A9%C3%A7ipe.yaml)" in text
    assert "](https://github.com/o/r/actions/runs/7#artifacts)" in text
    summary.write_text("x" * ((1 << 20) - 200), encoding="utf-8")
    assert run("convert", recipe, "-q").code == 5
    assert 1 << 20 >= summary.stat().st_size > (1 << 20) - 200
    assert summary.read_text(encoding="utf-8").endswith("The whole is in report.md.\n")


def test_a_summary_that_cannot_be_written_costs_nothing_but_itself(
    recipe: Path, run: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(tmp_path))
    ended = run("convert", recipe)
    assert ended.code == 5
    assert ended.err == (f"warning: {tmp_path}: the step summary cannot be written (Is a directory); it is left out\n")


def test_gitlab_gets_its_code_quality_report(
    recipe: Path, run: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GITLAB_CI", "true")
    monkeypatch.setenv("CI_PROJECT_DIR", str(tmp_path / "re po"))
    path = tmp_path / "out" / "t" / "gl-code-quality.json"
    assert run("convert", recipe).code == 5
    (entry,) = json.loads(path.read_text(encoding="utf-8"))
    assert entry["location"] == {"path": "a,b/réçipe.yaml", "lines": {"begin": 10}}
    assert run("convert", recipe, "--set", "gate.float32.size.max_bytes=10000").code == 0
    assert json.loads(path.read_text(encoding="utf-8")) == []
    monkeypatch.setenv("CI_PROJECT_DIR", str(tmp_path / "else where"))
    assert run("convert", recipe).code == 5
    (entry,) = json.loads(path.read_text(encoding="utf-8"))
    assert entry["location"]["path"] == "réçipe.yaml"
    monkeypatch.delenv("GITLAB_CI")
    assert run("convert", recipe).code == 5
    assert not path.exists(), "an earlier run's complaints lie beside a newer report"


def test_report_tells_again_from_the_json_alone(
    recipe: Path, run: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run("convert", recipe).code == 5
    left = tmp_path / "out" / "t"
    recipe.unlink()
    for name, value in (("GITHUB_ACTIONS", "true"), ("GITLAB_CI", "true"), ("GITHUB_STEP_SUMMARY", "summary.md")):
        monkeypatch.setenv(name, value)
    junit = (left / "junit.xml").read_bytes()
    ended = run("report", left / "report.json", "--output", "again")
    assert ended.code == 0, ended.err
    assert [found["line"] for found, _ in annotations(ended.err)] == ["10"]
    (entry,) = json.loads((tmp_path / "again" / "gl-code-quality.json").read_text(encoding="utf-8"))
    assert entry["location"]["lines"]["begin"] == 10
    assert (tmp_path / "again" / "junit.xml").read_bytes() == junit
    assert (tmp_path / "summary.md").read_text(encoding="utf-8").startswith("# t: failed\n")
