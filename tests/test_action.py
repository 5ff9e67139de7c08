"""action.yml: what GitHub demands of a composite action, and its script run by bash with the real tool."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parent.parent
TEXT = (ROOT / "action.yml").read_text(encoding="utf-8")
ACTION: dict[str, Any] = yaml.safe_load(TEXT)
STEPS: list[dict[str, Any]] = ACTION["runs"]["steps"]


def expressions(value: object) -> list[str]:
    return re.findall(r"\$\{\{\s*(.*?)\s*\}\}", json.dumps(value))


def test_it_is_a_composite_action() -> None:
    assert ACTION.keys() == {"name", "description", "inputs", "outputs", "runs"}
    assert ACTION["runs"]["using"] == "composite"
    for step in STEPS:
        assert ("run" in step) != ("uses" in step), step
        assert "run" not in step or step.get("shell") == "bash", "each run step of a composite action needs a shell"
        assert "uses" not in step or re.fullmatch(r"[\w.-]+/[\w./-]+@v\d+", step["uses"])


def test_inputs_are_described_and_each_is_used() -> None:
    assert set(ACTION["inputs"]) == {"recipe", "output", "python-version", "args"}
    for name, declared in ACTION["inputs"].items():
        assert declared["description"], name
        assert declared.get("required") is True or isinstance(declared["default"], str), f"{name}: no default"
    used = {name for text in expressions(STEPS) for name in re.findall(r"inputs\.([\w-]+)", text)}
    assert used == set(ACTION["inputs"])


def test_outputs_come_from_a_step_that_writes_them() -> None:
    assert set(ACTION["outputs"]) == {"status", "report"}
    scripts = {step["id"]: step["run"] for step in STEPS if "id" in step}
    for name, declared in ACTION["outputs"].items():
        (text,) = expressions(declared["value"])
        step, output = re.fullmatch(r"steps\.([\w-]+)\.outputs\.([\w-]+)", text).groups()  # type: ignore[union-attr]
        assert output == name and f'"{output}=$' in scripts[step] and "GITHUB_OUTPUT" in scripts[step]


def test_no_expression_becomes_text_of_a_script() -> None:
    assert [step for step in STEPS if "${{" in step.get("run", "")] == []


def test_it_installs_from_its_own_path() -> None:
    (install,) = [step for step in STEPS if "pip install" in step.get("run", "")]
    assert install["env"] == {"SOURCE": "${{ github.action_path }}"} and install["run"].endswith('"$SOURCE"')


def test_python_default_is_one_that_the_project_supports() -> None:
    minor = int(ACTION["inputs"]["python-version"]["default"].removeprefix("3."))
    assert 10 <= minor <= 13


@pytest.fixture
def act(tmp_path: Path) -> Callable[..., tuple[int, dict[str, str]]]:
    """Runs the converting step as GitHub does (``bash -eo pipefail``); the exit code and the outputs."""
    (step,) = [step for step in STEPS if step.get("id") == "convert"]
    (tmp_path / "bin").mkdir()
    tool = tmp_path / "bin" / "tflite-ptq"
    tool.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m tflite_ptq "$@"\n', encoding="utf-8")
    tool.chmod(0o755)
    (tmp_path / "bin" / "python").symlink_to(sys.executable)

    def call(**inputs: str) -> tuple[int, dict[str, str]]:
        defaults = {name: declared.get("default", "") for name, declared in ACTION["inputs"].items()}
        given = {**defaults, **inputs}
        outputs = tmp_path / "github output"
        outputs.write_text("", encoding="utf-8")
        environment = {
            **os.environ,
            "PATH": os.pathsep.join((str(tmp_path / "bin"), os.environ["PATH"])),
            "PYTHONPATH": os.pathsep.join((str(ROOT), os.environ.get("PYTHONPATH", ""))),
            "GITHUB_OUTPUT": str(outputs),
            **{
                name: given[value.removeprefix("${{ inputs.").removesuffix(" }}")]
                for name, value in step["env"].items()
            },
        }
        command = ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", step["run"]]
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
        lines = outputs.read_text(encoding="utf-8").splitlines()
        return done.returncode, dict(line.split("=", 1) for line in lines)

    return call


# (recipe's name, max_bytes of the gate, args, exit code, status)
RUNS = [
    ("recipe.yaml", 10_000, "", 0, "passed"),
    ("-re cipe$(touch hacked).yaml", 10_000, "  ", 0, "passed"),
    ("recipe.yaml", 100, "--only float32 --no-benchmark", 5, "failed"),
    ("recipe.yaml", 100, "--set 'gate.float32.size={max_bytes: 10000}'", 0, "passed"),
    ("recipe.yaml", 10_000, "--only '$(touch hacked)'", 2, "error"),
]


@pytest.mark.parametrize(("name", "limit", "args", "code", "status"), RUNS)
def test_outcomes(
    name: str,
    limit: int,
    args: str,
    code: int,
    status: str,
    tmp_path: Path,
    relu: Path,
    write_recipe: Callable[..., Path],
    act: Callable[..., tuple[int, dict[str, str]]],
) -> None:
    write_recipe(relu, gate={"float32": {"size": {"max_bytes": limit}}}).rename(tmp_path / name)
    ended, outputs = act(recipe=name, args=args, output="o ut")
    report = "o ut/report.json" if status != "error" else ""
    assert (ended, outputs) == (code, {"status": status, "report": report})
    if report:
        assert json.loads((tmp_path / report).read_text(encoding="utf-8"))["status"] == status
    assert not (tmp_path / "hacked").exists()


def test_a_stale_report_is_not_given_out(
    tmp_path: Path, relu: Path, write_recipe: Callable[..., Path], act: Callable[..., tuple[int, dict[str, str]]]
) -> None:
    recipe = write_recipe(relu).name
    assert act(recipe=recipe) == (0, {"status": "passed", "report": "out/report.json"})
    assert act(recipe="gone.yaml") == (2, {"status": "error", "report": ""})
