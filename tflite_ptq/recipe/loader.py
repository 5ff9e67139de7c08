"""YAML to recipe: every fault at once, each with its line. The one door to PyYAML.

Scalars follow YAML 1.2 (only true/false are booleans, 1e-3 is a number), as editors with a JSON Schema read them;
PyYAML's own YAML 1.1 would turn a class named ``no`` into false and ``1e-3`` into text.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml
from pydantic import ValidationError

from tflite_ptq.errors import RecipeError, UsageError
from tflite_ptq.recipe.explain import explain
from tflite_ptq.recipe.faults import Fault, Loc, Origins, Tree, render, shown
from tflite_ptq.recipe.overrides import apply
from tflite_ptq.recipe.paths import resolve
from tflite_ptq.recipe.rules import faults_of
from tflite_ptq.recipe.schema import Recipe

_MOST_BYTES = 4 << 20
_MOST_NODES = 200_000
_DEEPEST = 50
_INT = re.compile(r"[+-]?[0-9]+")
_FLOAT = re.compile(r"[+-]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][+-]?[0-9]+)?|[+-]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
_PLAIN_TAGS = frozenset(f"tag:yaml.org,2002:{kind}" for kind in ("str", "seq", "map"))
# Entries that may be written bare where strict validation wants a list: (the block's key, the entry's).
_BARE = {("latency", "threads"), ("latency", "delegates"), ("normalize", "mean"), ("normalize", "std")}


@dataclass(frozen=True)
class LoadedRecipe:
    """A recipe with its paths absolute. ``path`` is absolute; ``sha256`` is of the file's bytes, hexadecimal, ``text``
    what they say, with ``${VAR}`` as written."""

    recipe: Recipe
    path: Path
    sha256: str
    overrides: tuple[str, ...]
    text: str


def load(path: Path, overrides: Sequence[str] = ()) -> LoadedRecipe:
    """Reads the recipe at ``path`` and changes it as each ``key.path=value`` of ``overrides`` says.

    Raises ``RecipeError`` with every fault of the file on a line of its own, ``UsageError`` where the file does not
    exist or all faults come from ``overrides``.
    """
    data = _read(path)
    origins = Origins({(): 1})
    faults: list[Fault] = []
    tree = _Builder(origins, faults).build(_compose(path, data))
    if not isinstance(tree, dict):
        raise RecipeError(
            f"{path}:1: expected a mapping with the keys version, name, model, variants ..., got {shown(tree)}; "
            "'tflite-ptq init MODEL' writes a recipe to start from"
        )
    for override in overrides:
        apply(tree, override, origins, _parse_value)
    faults += resolve(tree, path.absolute().parent, os.environ)
    recipe = None
    try:
        recipe = Recipe.model_validate(_tuples(tree), strict=True)
    except ValidationError as error:
        faults += explain(error.errors(include_url=False), tree)
    if recipe is not None:
        faults += faults_of(recipe)
    if recipe is None or faults:
        kind = (
            UsageError if faults and all(isinstance(origins.find(fault.loc), str) for fault in faults) else RecipeError
        )
        raise kind(render(str(path), faults, origins))
    digest = hashlib.sha256(data).hexdigest()
    return LoadedRecipe(recipe, path.absolute(), digest, tuple(overrides), data.decode("utf-8-sig"))


def _read(path: Path) -> bytes:
    try:
        if path.is_dir():
            raise UsageError(f"{path}: expected a recipe file, got a folder; name the .yaml file in it")
        with path.open("rb") as file:
            data = file.read(_MOST_BYTES + 1)
    except FileNotFoundError:
        raise UsageError(f"{path}: no such recipe; 'tflite-ptq init MODEL' writes one") from None
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise UsageError(f"{path}: the recipe cannot be read: {reason}; check its path and permissions") from None
    if len(data) > _MOST_BYTES:
        raise RecipeError(f"{path}: larger than {_MOST_BYTES >> 20} MiB, which no recipe is; is this the right file?")
    return data


def _compose(path: Path, data: bytes) -> yaml.Node:
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise RecipeError(
            f"{path}:{line}: not UTF-8 text (byte 0x{data[error.start]:02x}); save the recipe as UTF-8, "
            "or check that this is a recipe"
        ) from None
    try:
        node = yaml.compose(text, Loader=yaml.BaseLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f":{mark.line + 1}:{mark.column + 1}" if mark else ""
        problem = (error.problem or "it cannot be read").removeprefix("but ")
        raise RecipeError(f"{path}{where}: not valid YAML: {problem}; {_mending(problem)}") from None
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise RecipeError(f"{path}:{line}: not valid YAML: a control character; remove it") from None
    except RecursionError:
        raise RecipeError(f"{path}: nested too deeply; a recipe needs fewer than {_DEEPEST} levels") from None
    if node is None:
        raise RecipeError(f"{path}: the recipe is empty; 'tflite-ptq init MODEL' writes one to start from")
    return node


def _mending(problem: str) -> str:
    if "'\\t'" in problem:
        return "indent with spaces, not tabs"
    if "mapping values are not allowed" in problem:
        return "quote a text that holds ': ', and check the indentation"
    if "another document" in problem or "document start" in problem:
        return "a recipe is one document; remove what follows '---' or '...'"
    if "alias" in problem:
        return "quote a text that starts with '*', or define its anchor (&name) first"
    if "cannot start any token" in problem:
        return "quote a text that starts with this character"
    return "check indentation, quotes and brackets here and on the line before"


class _Builder:
    """Turns YAML nodes into plain data, noting the line of each place and what is wrong on the way."""

    def __init__(self, origins: Origins, faults: list[Fault]) -> None:
        self._origins, self._faults, self._nodes = origins, faults, 0

    def build(self, node: yaml.Node, loc: Loc = ()) -> Tree:
        self._nodes += 1
        line = node.start_mark.line + 1
        if len(loc) > _DEEPEST or self._nodes > _MOST_NODES:
            # Aliases may contain themselves, or double with each level.
            if not any(fault.loc == () for fault in self._faults):
                self._faults.append(Fault((), "nested too deeply or too large (aliases?); write the values out"))
            return None
        if node.tag not in _PLAIN_TAGS:
            self._faults.append(Fault(loc, f"the tag '{node.tag}' is not allowed; write a plain value"))
            return None
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, loc)
        if isinstance(node, yaml.SequenceNode):
            items: list[Tree] = []
            for index, item in enumerate(node.value):
                self._origins.of[(*loc, index)] = item.start_mark.line + 1
                items.append(self.build(item, (*loc, index)))
            return items
        self._origins.of.setdefault(loc, line)
        quoted = not isinstance(node, yaml.ScalarNode) or node.style is not None
        return str(node.value) if quoted else _scalar(str(node.value))

    def _mapping(self, node: yaml.MappingNode, loc: Loc) -> Tree:
        block: dict[str, Tree] = {}
        for key_node, value_node in node.value:
            line = key_node.start_mark.line + 1
            if not isinstance(key_node, yaml.ScalarNode):
                self._faults.append(Fault(loc, f"a key on line {line} is no text; quote it if it starts with [ or {{"))
                continue
            key = str(key_node.value)
            if key in block:
                first = self._origins.of[(*loc, key)]
                message = f"the key is already on line {first}; keep one of them"
                self._faults.append(Fault((*loc, key), message, line))
                continue
            self._origins.of[(*loc, key)] = line
            block[key] = self.build(value_node, (*loc, key))
        return block


def _scalar(text: str) -> Tree:
    """A plain (unquoted) scalar by YAML 1.2's core schema."""
    if text in ("", "~", "null", "Null", "NULL"):
        return None
    if text in ("true", "True", "TRUE", "false", "False", "FALSE"):
        return text.lower() == "true"
    if _INT.fullmatch(text) and len(text) < 1000:
        return int(text)
    if _FLOAT.fullmatch(text):
        return float(text.lower().replace(".inf", "inf").replace(".nan", "nan"))
    return text


def _parse_value(text: str) -> Tree:
    """The value of an override. Raises ``ValueError`` where it is no YAML."""
    try:
        node = yaml.compose(text, Loader=yaml.BaseLoader)
    except (yaml.YAMLError, RecursionError) as error:
        raise ValueError(getattr(error, "problem", None) or "unreadable") from None
    faults: list[Fault] = []
    tree = _Builder(Origins(), faults).build(node) if node is not None else None
    if faults:
        raise ValueError(faults[0].message)
    return tree


def _tuples(tree: Tree, loc: Loc = ()) -> object:
    """``tree`` with tuples for lists, which strict validation asks for."""
    if isinstance(tree, dict):
        return {name: _tuples(value, (*loc, name)) for name, value in tree.items()}
    if isinstance(tree, list):
        return tuple(_tuples(item, (*loc, index)) for index, item in enumerate(tree))
    bare = loc[-2:] in _BARE and "gate" not in loc[:1] and isinstance(tree, (int, float, str))
    return (tree,) if bare and not isinstance(tree, bool) else tree
