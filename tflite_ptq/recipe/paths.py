"""Paths of the recipe: ``${VAR}`` and ``~`` expanded, made absolute against the recipe's folder.

A relative path in a variable that a recipe's path starts with counts from the working directory.

Reads the disk only to see where a label file lies; that the paths exist is for the pipeline to check.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from tflite_ptq.recipe.faults import Fault, Loc, Tree, at

LABEL_WORDS = frozenset({"folders", "none"})
"""Values of ``labels`` that are no paths."""

_VARIABLE = re.compile(r"\$\$|\$\{([^}]*)\}|\$\{")
_SUBSETS = ("calibration", "evaluation")


class _Unusable(Exception):
    """A path with a fault; the text says which."""


def resolve(tree: Tree, base: Path, environ: Mapping[str, str]) -> list[Fault]:
    """Replaces every path in ``tree`` by its absolute form; ``base`` is the recipe's folder (absolute).

    What is no text is left alone: validation says what is wrong with it. Returns the faults found.
    """
    faults: list[Fault] = []

    def settle(loc: Loc, folder: Path | None = None) -> None:
        found, value = at(tree, loc)
        parent = at(tree, loc[:-1])[1]
        if found != loc or not isinstance(value, str) or not isinstance(parent, dict):
            return
        try:
            parent[str(loc[-1])] = str(_absolute(value, base, folder, environ))
        except _Unusable as fault:
            faults.append(Fault(loc, str(fault)))

    settle(("model", "path"))
    settle(("output",))
    for subset in _SUBSETS:
        loc: Loc = ("dataset", subset)
        settle((*loc, "path"))
        root = at(tree, (*loc, "path"))[1]
        folder = Path(root) if isinstance(root, str) and "\0" not in root else None
        if at(tree, (*loc, "labels"))[1] not in [*LABEL_WORDS]:
            settle((*loc, "labels"), folder)
        settle((*loc, "labels", "masks"))
        for key in ("csv", "coco", "transcripts"):
            settle((*loc, "labels", key), folder)
    for library in _libraries(tree):
        value = at(tree, library)[1]
        # A bare name that is no file here is the system's to find (libedgetpu.so.1).
        if not isinstance(value, str) or "/" in value or "$" in value or (base / value).exists():
            settle(library)
    return faults


def _libraries(tree: Tree) -> list[Loc]:
    """Where the recipe names external delegates: one, or some in a list."""
    loc: Loc = ("benchmark", "latency", "delegates")
    delegates = at(tree, loc)[1]
    entries = [(*loc, index) for index in range(len(delegates))] if isinstance(delegates, list) else [loc]
    return [(*entry, "library") for entry in entries]


def _absolute(text: str, base: Path, folder: Path | None, environ: Mapping[str, str]) -> Path:
    """``text`` as an absolute path: inside ``folder`` where it lies there, else relative to ``base``."""
    if not text.strip():
        raise _Unusable("expected a path, got an empty text")
    if any(ord(letter) < 32 for letter in text):
        raise _Unusable(f"expected a path, got {text!r}, which holds control characters; mend the escapes in it")
    try:
        path = Path(_VARIABLE.sub(lambda match: _value(match, environ), text)).expanduser()
    except RuntimeError:
        raise _Unusable(f"'~' in {text!r} has no home folder here; write the whole path") from None
    if text.startswith("${") and not path.is_absolute():
        # Whoever sets a variable in a shell writes it relative to where the shell is.
        path = Path.cwd() / path
    if folder is None:
        return base / path
    inside, beside = folder / path, base / path
    if inside.exists() or beside.exists():
        return inside if inside.exists() else beside
    return inside if folder.is_dir() else beside


def _value(match: re.Match[str], environ: Mapping[str, str]) -> str:
    if match[0] == "$$":
        return "$"
    name = match[1]
    if name is None:
        raise _Unusable("'${' without its '}'; write ${NAME}, or $$ for a plain $")
    if not re.fullmatch(r"[A-Za-z_]\w*", name):
        raise _Unusable(f"'${{{name}}}' is not an environment variable; write ${{NAME}}, or $$ for a plain $")
    value = environ.get(name)
    if not value:
        state = "is not set" if value is None else "is empty"
        raise _Unusable(f"the environment variable {name} {state}; set it first: export {name}=...")
    return value
