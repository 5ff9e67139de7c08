"""Which operators a recipe's ``exclude`` names (pure but for the model given)."""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from fnmatch import fnmatchcase

from tflite_ptq.errors import ConversionError
from tflite_ptq.model.editing import Editable
from tflite_ptq.recipe.schema import Exclude, ExcludeOp


def excluded_outputs(model: Editable, patterns: Sequence[Exclude], variant: str) -> frozenset[str]:
    """Names of the output tensors whose operators stay float.

    A pattern (``*``, ``?``, ``[...]``) is held against the whole tensor name and against each layer in it: TFLite joins
    the names of fused layers with ``;`` and of scopes with ``/``. Raises ``ConversionError`` where one matches nothing.
    """
    nodes = [(node.name, model.name(output)) for node in model.nodes() for output in node.outputs]
    found: set[str] = set()
    for pattern in patterns:
        if isinstance(pattern, ExcludeOp):
            matched = {name for op, name in nodes if op == pattern.op}
            known = sorted({op for op, _ in nodes})
            shown = f"{{op: {pattern.op}}}"
            wanted = pattern.op
        else:
            matched = {name for _, name in nodes if any(fnmatchcase(part, pattern) for part in parts(name))}
            known = sorted({part for _, name in nodes for part in parts(name)})
            shown = wanted = pattern
        if not matched:
            raise ConversionError(
                f"{variant}: exclude: '{shown}' matches no layer of the model; {nearest(wanted, known)}"
            )
        found |= matched
    return frozenset(found)


def nearest(pattern: str, known: Sequence[str]) -> str:
    """What a message says of the names that a pattern may have meant."""
    folded = {name.casefold(): name for name in known}
    near = difflib.get_close_matches(pattern.strip("*").casefold(), folded, 3, 0.4)
    names = [folded[name] for name in near] or known[:5]
    return f"the nearest names are {', '.join(names)} (tflite-ptq inspect shows them all)"


def parts(name: str) -> tuple[str, ...]:
    """The tensor's name, the names joined in it and the layers named in those."""
    joined = name.split(";")
    layers = [layer for one in joined for layer in one.split("/")]
    return tuple(dict.fromkeys([name, *joined, *(layer for layer in layers if not re.fullmatch(r"\s*", layer))]))
