"""The README is held against the program: its commands, options, recipes, key table and the demo's output."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import UnionType
from typing import Annotated, Union, get_args, get_origin

import click
import pytest
import yaml
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from tflite_ptq.cli.main import cli
from tflite_ptq.recipe.loader import load
from tflite_ptq.recipe.schema import Recipe
from tflite_ptq.report import files
from tflite_ptq.report import gitlab as code_quality

README = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")
BLOCKS = [(kind, text) for kind, text in re.findall(r"^```(\w+)\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)]


def command_lines() -> Iterator[str]:
    """Every ``tflite-ptq`` line of the shell blocks, the CI and make snippets and the table of commands."""
    for _, text in BLOCKS:
        for line in text.splitlines():
            found = re.match(r"(?:\$ |\t|\s*- (?:run: )?)?(tflite-ptq .*)", line)
            if found:
                yield found[1]
    yield from (text for text in re.findall(r"`(tflite-ptq [^`\n]+)`", README) if "COMMAND" not in text)


def words_of(line: str) -> list[str]:
    """A command's words: what a shell would make of the rest is left out."""
    return shlex.split(re.split(r"\s(?:#|\|\||&&|>>?|\|)\s", line)[0])[1:]


@pytest.mark.parametrize("line", sorted(set(command_lines())))
def test_commands_and_options_exist(line: str) -> None:
    name, *arguments = words_of(line)
    context = click.Context(cli, info_name="tflite-ptq")
    command = cli.get_command(context, name)
    assert command is not None, f"no command {name}"
    command.make_context(name, arguments, parent=context)  # raises UsageError for what does not exist


def test_every_command_is_shown() -> None:
    shown = {words_of(line)[0] for line in command_lines()}
    assert shown == set(cli.list_commands(click.Context(cli)))


RECIPES = [text for kind, text in BLOCKS if kind == "yaml" and text.startswith("version:")]
FRAGMENTS = [text for kind, text in BLOCKS if kind == "yaml" and re.match(r"dataset:|benchmark:", text)]


@pytest.mark.parametrize("text", RECIPES)
def test_recipes_load(text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in re.findall(r"\$\{(\w+)\}", text):
        monkeypatch.setenv(name, str(tmp_path))
    path = tmp_path / "recipe.yaml"
    path.write_text(text, encoding="utf-8")
    load(path)


@pytest.mark.parametrize("text", FRAGMENTS)
def test_fragments_of_recipes_load(text: str, tmp_path: Path) -> None:
    if not text.startswith("dataset:"):
        text += "dataset: {format: {type: npy}, evaluation: {path: x}, calibration: {path: x}}\n"
    path = tmp_path / "recipe.yaml"
    path.write_text(f"version: 1\nname: t\nmodel: {{path: m}}\nvariants: [int8]\n{text}", encoding="utf-8")
    load(path)


def test_there_are_recipes_and_fragments() -> None:
    assert RECIPES and len(FRAGMENTS) >= 5


IN_CI = [
    yaml.safe_load(text)
    for kind, text in re.findall(
        r"^```(\w+)\n(.*?)^```$", README.split("## In CI")[1].split("\n## ")[0], re.MULTILINE | re.DOTALL
    )
    if kind == "yaml"
]
ACTION = yaml.safe_load((Path(__file__).parent.parent / "action.yml").read_text(encoding="utf-8"))


def test_ci_jobs_use_what_the_action_takes_and_the_tool_leaves() -> None:
    github, _, plain, gitlab = IN_CI
    (ours,) = [step for step in github["jobs"]["quantize"]["steps"] if step.get("uses") == "./tflite-ptq"]
    assert set(ours["with"]) <= set(ACTION["inputs"])
    assert {name for name, one in ACTION["inputs"].items() if one.get("required")} <= set(ours["with"])
    upload = github["jobs"]["quantize"]["steps"][-1]
    assert upload["if"] == "always()", "the report of a broken gate is what one wants to see"
    assert upload["with"]["path"] == ours["with"].get("output", ACTION["inputs"]["output"]["default"])
    assert all(("run" in step) != ("uses" in step) for step in plain["steps"])
    reports = gitlab["quantize"]["artifacts"]["reports"]
    assert gitlab["quantize"]["artifacts"]["when"] == "always"
    assert reports["junit"].removeprefix("out/") in files.RENDERED
    assert reports["codequality"].removeprefix("out/") == code_quality.NAME


def test_the_tables_of_the_action_are_its_own() -> None:
    section = README.split("## In CI")[1].split("\n## ")[0]
    named = re.findall(r"^\| `([\w-]+)` \|", section, re.MULTILINE)
    assert named == [*ACTION["inputs"], *ACTION["outputs"]]


def members(kind: object) -> Iterator[tuple[str, object]]:
    """What a field may hold, each with the mark that its keys carry behind the field's name."""
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is Annotated:
        yield from members(arguments[0])
    elif origin in (Union, UnionType):
        for member in arguments:
            yield from members(member)
    elif origin is tuple and any(isinstance(inner, type) and issubclass(inner, BaseModel) for inner in arguments):
        yield from (("[]", inner) for inner in arguments if inner is not ...)
    elif origin is dict:
        yield from (("<>", inner) for _, inner in members(arguments[1]))
    else:
        yield "", kind


def fields_of(model: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, FieldInfo, bool]]:
    """Every key below ``model``: its path, its field, and whether it has keys of its own."""
    for name, field in model.model_fields.items():
        kinds = list(members(field.annotation))
        blocks = [
            (mark, kind)
            for mark, kind in kinds
            if isinstance(kind, type) and not get_args(kind) and issubclass(kind, BaseModel)
        ]
        yield prefix + name, field, bool(blocks)
        for mark, kind in blocks:
            below = {"<>": ".<>", "[]": "[]"}.get(mark, mark)
            yield from fields_of(kind, f"{prefix}{name}{below}.")


def table() -> dict[str, str]:
    """The key table: key to default, as written; ``<variant>`` and ``<input>`` are ``<>``."""
    section = README.split("### Every key")[1].split("\n## ")[0]
    rows = [re.split(r"(?<!\\) \| ", line.strip("| ")) for line in section.splitlines() if line.startswith("| `")]
    keys: dict[str, str] = {}
    for cells in rows:
        assert len(cells) == 3, cells
        for key in re.findall(r"`([^`]+)`", cells[0]):
            plain = re.sub(r"<\w+>", "<>", key)
            assert plain not in keys, f"{key} is there twice"
            keys[plain] = cells[2]
    return keys


def test_the_key_table_names_every_key_and_no_other() -> None:
    every = {path: has_keys for path, _, has_keys in fields_of(Recipe)}
    named = {key.removesuffix("[]") for key in table()}
    assert {path for path, has_keys in every.items() if not has_keys} - named == set(), "missing in the table"
    assert named - set(every) == set(), "not in the schema"


# Defaults that depend on something else, told in words; and one that is required for one format only.
IN_WORDS = {"dataset.format.keys", "dataset.format.dtype", "dataset.format.shape", "variants[].name"}


def test_the_key_table_tells_the_defaults() -> None:
    told = {key.removesuffix("[]"): text for key, text in table().items()}
    wrong: dict[str, str] = {}
    for path, field, has_keys in fields_of(Recipe):
        if has_keys or path in IN_WORDS:
            continue
        if field.is_required():
            right = told[path].startswith("required")
        elif isinstance(field.default, (bool, int, float, str)):
            value = str(field.default).lower() if isinstance(field.default, bool) else str(field.default)
            right = told[path] == f"`{value}`"
        elif isinstance(field.default, tuple):
            right = told[path] == f"`[{', '.join(map(str, field.default))}]`"
        else:
            right = not told[path].startswith("required")
        if not right:
            wrong[path] = f"{told[path]} (the schema: {field.default!r})"
    assert wrong == {}


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The folder where the demo ran, and what it printed."""
    folder = tmp_path_factory.mktemp("readme")
    done = shell("tflite-ptq demo", folder)
    assert done.returncode == 0, done.stderr
    return folder, done.stdout


def shell(line: str, folder: Path) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"]))
    environment = {**os.environ, "PATH": path, "COLUMNS": "80"}
    return subprocess.run(
        line, shell=True, cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=600
    )


def tables_of(output: str) -> list[tuple[str, list[str]]]:
    """Header (without spaces that depend on figures) and first words of the rows of each table."""
    lines = output.splitlines()
    found: list[tuple[str, list[str]]] = []
    for number, line in enumerate(lines):
        if set(line) == {"─"}:
            names = [row.split()[0] for row in _until_blank(lines[number + 1 :])]
            found.append((" ".join(lines[number - 1].split()), [name for name in names if not name.endswith(":")]))
    return found


def _until_blank(lines: list[str]) -> Iterator[str]:
    for line in lines:
        if not line.strip() or "median of the proc" in line or line.startswith("agrees:"):
            return
        yield line


@pytest.mark.slow
def test_the_demo_prints_the_tables_of_the_readme(demo: tuple[Path, str]) -> None:
    shown = next(text for kind, text in BLOCKS if kind == "console" and "tflite-ptq demo\n" in text)
    assert len(tables_of(shown)) == 3
    assert tables_of(demo[1]) == tables_of(shown)


@pytest.mark.slow
def test_the_next_steps_end_as_the_readme_says(demo: tuple[Path, str]) -> None:
    folder, _ = demo
    block = next(text for kind, text in BLOCKS if kind == "sh" and "# exit 0" in text)
    steps = re.findall(r"^(tflite-ptq .*?)  # exit (\d+)$", block, re.MULTILINE)
    assert len(steps) == len(block.splitlines())
    for line, code in steps:
        done = shell(line, folder)
        assert done.returncode == int(code), f"{line}\n{done.stdout}{done.stderr}"
