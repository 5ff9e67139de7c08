"""What a metric of the user's own depends on: its module's file, and the files beside it that this one imports."""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path

from tflite_ptq.recipe.metric import Metric


def functions_sha256(metrics: Sequence[Metric], folders: Sequence[Path]) -> str | None:
    """SHA-256 of the Python files behind the metrics ``module:function``; the hash of nothing where there are none.

    ``folders`` are searched in order, as the evaluation does (the recipe's, then the working folder). ``None`` where a
    module is in neither, or is no Python text: what it depends on is not known then. A file that the function reads
    is not seen.
    """
    digest = hashlib.sha256()
    seen: set[Path] = set()
    for metric in metrics:
        if not metric.custom:
            continue
        module = metric.name.partition(":")[0]
        pending = [found for name in _with_packages(module) if (found := _file(name, folders)) is not None]
        if _file(module, folders) is None:
            return None
        while pending:
            file = pending.pop()
            if file in seen:
                continue
            seen.add(file)
            try:
                data = file.read_bytes()
                names = list(_imported(data))
            except (OSError, SyntaxError, ValueError):
                return None
            digest.update(f"{file.name}\0{hashlib.sha256(data).hexdigest()}\n".encode())
            pending += [found for name in names if (found := _file(name, (*folders, file.parent))) is not None]
    return digest.hexdigest()


def _with_packages(module: str) -> Iterator[str]:
    """``a``, ``a.b``, ``a.b.c``: what importing ``a.b.c`` runs."""
    parts = module.split(".")
    yield from (".".join(parts[: count + 1]) for count in range(len(parts)))


def _file(module: str, folders: Sequence[Path]) -> Path | None:
    relative = Path(*module.split("."))
    for folder in folders:
        for candidate in (folder / relative / "__init__.py", (folder / relative).with_suffix(".py")):
            if candidate.is_file():
                return candidate
    return None


def _imported(data: bytes) -> Iterator[str]:
    for node in ast.walk(ast.parse(data)):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield from _with_packages(alias.name)
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                yield from _with_packages(f"{node.module or ''}.{alias.name}".lstrip("."))
