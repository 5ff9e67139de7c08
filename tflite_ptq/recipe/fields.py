"""What the recipe's models allow at a place: the fields of a block, the values of a choice. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from types import UnionType
from typing import Annotated, Literal, Union, get_args, get_origin

from pydantic import Tag

from tflite_ptq.recipe.faults import Loc
from tflite_ptq.recipe.schema import Recipe
from tflite_ptq.recipe.strict import Strict


@dataclass(frozen=True)
class _Choice:
    """One of the types a value may have; ``tag`` is what pydantic puts into a location for it."""

    kind: object
    tag: str | None = None


def _choices(kind: object) -> Iterator[_Choice]:
    origin = get_origin(kind)
    if origin is Annotated:
        inner, *metadata = get_args(kind)
        tags = [item.tag for item in metadata if isinstance(item, Tag)]
        for choice in _choices(inner):
            yield replace(choice, tag=tags[0]) if tags else choice
    elif origin in (Union, UnionType):
        for member in get_args(kind):
            yield from _choices(member)
    elif isinstance(kind, type) and issubclass(kind, Strict) and "type" in kind.model_fields:
        yield _Choice(kind, get_args(kind.model_fields["type"].annotation)[0])
    else:
        yield _Choice(kind)


def _below(choice: _Choice, part: str | int) -> Iterator[_Choice]:
    kind = choice.kind
    arguments = get_args(kind)
    if isinstance(part, int) and get_origin(kind) is tuple:
        yield from _choices(arguments[0])
    elif isinstance(part, str) and get_origin(kind) is dict:
        yield from _choices(arguments[1])
    elif isinstance(kind, type) and issubclass(kind, Strict) and part in kind.model_fields:
        field = kind.model_fields[str(part)]
        for found in _choices(field.annotation):
            tags = [item.tag for item in field.metadata if isinstance(item, Tag)]
            yield replace(found, tag=tags[0]) if tags else found


def _walk(loc: Loc) -> tuple[Loc, list[_Choice]]:
    """``loc`` without pydantic's union tags, and the types possible there."""
    choices = [_Choice(Recipe)]
    clean: Loc = ()
    for part in loc:
        tagged = [choice for choice in choices if choice.tag == part]
        if tagged:
            # One tag a place: below 'format' the key 'raw' after the tag 'raw' is a key.
            choices = [replace(choice, tag=None) for choice in tagged]
            continue
        clean = (*clean, part)
        choices = [found for choice in choices for found in _below(choice, part)]
    return clean, choices


def untagged(loc: Loc) -> Loc:
    """A pydantic location as a place in the file, without the tags of unions."""
    return _walk(loc)[0]


def keys_at(loc: Loc) -> tuple[str, ...]:
    """The keys that the block at the pydantic location ``loc`` may have; empty where it is no block."""
    blocks = [choice.kind for choice in _walk(loc)[1]]
    names = [
        name for kind in blocks if isinstance(kind, type) and issubclass(kind, Strict) for name in kind.model_fields
    ]
    return tuple(dict.fromkeys(names))


def values_at(loc: Loc) -> tuple[object, ...]:
    """The values of the choice at the pydantic location ``loc``; empty where it is none."""
    literals = [choice.kind for choice in _walk(loc)[1] if get_origin(choice.kind) is Literal]
    return tuple(value for kind in literals for value in get_args(kind))


def tags_at(loc: Loc) -> tuple[str, ...]:
    """The values of ``type`` that choose a member of the union at the pydantic location ``loc``."""
    return tuple(choice.tag for choice in _walk(loc)[1] if choice.tag is not None)


def length_at(loc: Loc) -> int | None:
    """How many entries the list at the pydantic location ``loc`` must have, where that is fixed."""
    for choice in _walk(loc)[1]:
        arguments = get_args(choice.kind)
        if get_origin(choice.kind) is tuple and Ellipsis not in arguments:
            return len(arguments)
    return None


def description(loc: Loc) -> str | None:
    """The description of the field at the pydantic location ``loc``."""
    for choice in _walk(loc[:-1])[1]:
        kind = choice.kind
        if isinstance(kind, type) and issubclass(kind, Strict) and loc[-1] in kind.model_fields:
            return kind.model_fields[str(loc[-1])].description
    return None
