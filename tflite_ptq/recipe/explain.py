"""Pydantic's errors as faults in plain words. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from pydantic_core import ErrorDetails

from tflite_ptq.recipe.faults import Fault, Loc, Tree, at, nearest, shown
from tflite_ptq.recipe.fields import description, keys_at, length_at, tags_at, untagged, values_at

_EXPECTED: Mapping[str, str] = {
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "int_parsing": "a whole number",
    "int_parsing_size": "a whole number of a sensible size",
    "float_type": "a number",
    "float_parsing": "a number",
    "finite_number": "a finite number",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "string_type": "text",
    "tuple_type": "a list",
    "dict_type": "a mapping (key: value lines)",
    "model_type": "a mapping (key: value lines)",
    "model_attributes_type": "a mapping (key: value lines)",
}
_BOUNDS: Mapping[str, tuple[str, str]] = {
    "greater_than": ("greater than", "gt"),
    "greater_than_equal": ("of at least", "ge"),
    "less_than": ("less than", "lt"),
    "less_than_equal": ("of at most", "le"),
}
_NOUNS: Mapping[str, str] = {
    "io": "a dtype for io",
    "type": "a format",
    "select": "a way to select",
    "normalize": "a normalization preset",
    "score": "a score",
    "delegates": "a delegate",
}
_NAME_RULE = "a name of at most 100 letters, digits, '.', '_' and '-' that starts with a letter or digit"


def explain(errors: Iterable[ErrorDetails], tree: Tree) -> list[Fault]:
    """The faults behind ``errors``, which validating ``tree`` gave; one for each place and cause."""
    faults: list[Fault] = []
    wanted: dict[Loc, list[str]] = {}
    for error in errors:
        loc = untagged(error["loc"])
        found, value = at(tree, loc)
        missing = error["type"] in ("missing", "extra_forbidden", "union_tag_not_found")
        if found != loc and not missing:
            if isinstance(value, dict) and loc[len(found)] in keys_at(found):
                continue  # a value the models derived from one that has its own fault (a name from its scheme)
            if any(fault.loc == found for fault in faults):
                continue
        expected = _expected(error, value)
        if expected:
            wanted.setdefault(found, []).append(expected)
        else:
            faults += _fault(error, loc, found, value)
    for loc, kinds in wanted.items():
        value = at(tree, loc)[1]
        faults.append(
            Fault(loc, f"expected {' or '.join(dict.fromkeys(kinds))}, got {shown(value)}{_hint(kinds, value)}")
        )
    return faults


def _expected(error: ErrorDetails, value: Tree) -> str | None:
    kind = error["type"]
    if kind in _BOUNDS:
        words, key = _BOUNDS[kind]
        return f"a number {words} {error['ctx'][key]}"
    if kind in ("string_pattern_mismatch", "string_too_long") and error.get("ctx", {}).get("max_length") != 1:
        return _NAME_RULE
    if kind in ("string_too_short", "string_too_long"):
        return "one character"
    return _EXPECTED.get(kind)


def _hint(kinds: list[str], value: Tree) -> str:
    if "text" in kinds and isinstance(value, (bool, int, float)):
        return "; put it in quotes"
    if "true or false" in kinds and isinstance(value, str) and value.lower() in ("yes", "on", "no", "off"):
        return f"; write {'true' if value.lower() in ('yes', 'on') else 'false'} without quotes"
    if any("number" in kind for kind in kinds) and isinstance(value, str):
        try:
            float(value)
        except ValueError:
            return ""
        return "; write it without quotes"
    if "a list" in kinds and isinstance(value, (str, bool, int, float)):
        return f"; write [{str(value).lower() if isinstance(value, bool) else value}]"
    return ""


def _fault(error: ErrorDetails, loc: Loc, found: Loc, value: Tree) -> list[Fault]:
    kind = error["type"]
    if kind == "extra_forbidden":
        allowed = keys_at(error["loc"][:-1])
        key = str(loc[-1])
        return [Fault(loc, f"unknown key{nearest(key, allowed)} (allowed: {', '.join(allowed)})")]
    if (kind == "missing" and isinstance(loc[-1], int)) or kind in ("too_short", "too_long"):
        return _length(error, found, value)
    if kind == "missing":
        if loc == ("version",):
            return [Fault(loc, "missing; add 'version: 1' at the top")]
        what = description(error["loc"])
        return [Fault(loc, f"missing; add it{f' ({what})' if what else ''}")]
    if kind in ("literal_error", "union_tag_invalid", "union_tag_not_found"):
        return [_choice(error, loc, found, value)]
    if kind == "value_error":
        return [_own_rule(error["msg"].removeprefix("Value error, "), found, value)]
    return [Fault(found, f"{error['msg'][:1].lower()}{error['msg'][1:]}, got {shown(value)}")]


def _length(error: ErrorDetails, found: Loc, value: Tree) -> list[Fault]:
    size = len(value) if isinstance(value, (list, dict)) else 0
    where = error["loc"][:-1] if error["type"] == "missing" else error["loc"]
    exact = length_at(where)
    if exact is None and size >= error.get("ctx", {}).get("min_length", 0):
        return []  # pydantic also calls a list too short when its entries have faults of their own
    what = description(where)
    expected = f"{exact} entries" if exact else "at least one entry"
    return [Fault(found, f"expected {expected}{f': {what}' if what else ''}; got {size or 'none'}")]


def _choice(error: ErrorDetails, loc: Loc, found: Loc, value: Tree) -> Fault:
    if error["type"] == "literal_error":
        allowed = values_at(error["loc"])
    else:
        allowed = tags_at(error["loc"])
        if not isinstance(value, dict) or "type" not in value:
            return Fault((*loc, "type"), f"missing; add it ({', '.join(map(str, allowed))})")
        loc, found, value = (*loc, "type"), (*found, "type"), value["type"]
    if loc == ("version",):
        quotes = " without quotes" if value == "1" else "; this tool reads recipes of version 1"
        return Fault(found, f"expected 1{quotes}, got {shown(value)}")
    field = next((part for part in reversed(loc) if isinstance(part, str)), "")
    noun = _NOUNS.get(field) or f"{'an' if field[:1] in 'aeiou' else 'a'} {field.replace('_', ' ')}"
    names = [str(item) for item in allowed]
    close = nearest(value, names) if isinstance(value, str) else ""
    return Fault(found, f"{shown(value)} is not {noun}{close} ({', '.join(names)})")


def _own_rule(message: str, found: Loc, value: Tree) -> Fault:
    """A rule of the models' own validators; ``key: ...`` at its start names the key at fault."""
    start = re.match(r"(\w+): ", message)
    if start and isinstance(value, dict) and start[1] in value:
        found = (*found, start[1])
    if start:
        message = message[start.end() :]
    named = re.match(r"('([^']*)' is not an? \w+) \((.*)\)$", message)
    if named:
        message = f"{named[1]}{nearest(named[2], named[3].split(', '))} ({named[3]})"
    return Fault(found, message)
