"""``--set key.path=value``: changes to a recipe from the command line. Pure, given a YAML parser."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from tflite_ptq.errors import UsageError
from tflite_ptq.recipe.faults import Loc, Origins, Tree, nearest, place, shown
from tflite_ptq.recipe.fields import keys_at

_LONG_FORM: Mapping[Loc, str] = {("variants",): "scheme", ("benchmark", "accuracy", "metrics"): "name"}
"""Lists whose entries may be a plain text, short for a mapping with this one key."""


def apply(tree: dict[str, Tree], override: str, origins: Origins, parse: Callable[[str], Tree]) -> None:
    """Changes ``tree`` as ``override`` says; missing mappings are made, ``variants.0`` counts from 0.

    Raises ``UsageError`` where ``override`` is no ``key.path=value``, its value no YAML, or its path no place.
    """
    keys, equals, text = override.partition("=")
    parts = keys.strip().split(".")
    if not equals or not all(parts):
        raise UsageError(f"--set {override}: expected key.path=value, for example --set variants.0.io=int8")
    try:
        value = parse(text)
    except ValueError as error:
        raise UsageError(f"--set {override}: the value is not valid YAML ({error}); put it in quotes") from None
    node: dict[str, Tree] | list[Tree] = tree
    loc: Loc = ()
    for depth, part in enumerate(parts):
        last = depth == len(parts) - 1
        if isinstance(node, list):
            index = _index(override, node, loc, part)
            new, loc = index == len(node), (*loc, index)
            if new:
                node.append(None)
            child = node[index] = value if last else _inner(override, node[index], loc)
        else:
            _check_key(override, node, loc, part)
            new, loc = part not in node, (*loc, part)
            child = node[part] = value if last else _inner(override, node.get(part), loc)
        if new or last:
            origins.replace(loc, override)
        if isinstance(child, (dict, list)):
            node = child


def _check_key(override: str, node: dict[str, Tree], loc: Loc, key: str) -> None:
    """Unknown keys of a union's block are left to validation, which knows the member."""
    allowed = keys_at(loc)
    if allowed and key not in allowed and key not in node:
        where = place((*loc, key))
        hint = nearest(key, allowed)
        raise UsageError(f"--set {override}: {where}: unknown key{hint} (allowed: {', '.join(allowed)})")


def _index(override: str, node: list[Tree], loc: Loc, part: str) -> int:
    if part.isascii() and part.isdigit() and len(part) < 7 and int(part) <= len(node):
        return int(part)
    entries = f"0 to {len(node) - 1}, or {len(node)} to add one" if node else "0 to add one"
    raise UsageError(f"--set {override}: {place(loc)} is a list; name its entry by number ({entries}), not '{part}'")


def _inner(override: str, child: Tree, loc: Loc) -> dict[str, Tree] | list[Tree]:
    """What lies at ``loc``, to be changed inside: a block, a list, a short form made long, or a new block."""
    if isinstance(child, (dict, list)):
        return child
    if child is None:
        return {}
    if isinstance(child, str) and loc[:-1] in _LONG_FORM:
        return {_LONG_FORM[loc[:-1]]: child}
    raise UsageError(f"--set {override}: {place(loc)} is {shown(child)} and holds no keys; set {place(loc)} itself")
