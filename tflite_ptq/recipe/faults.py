"""A fault of the recipe: what is wrong, where, and the line or the ``--set`` that wrote it. Pure."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias, Union

Tree: TypeAlias = Union[bool, int, float, str, "list[Tree]", "dict[str, Tree]", None]
"""What a recipe's YAML holds, before it is validated."""

Loc = tuple[Union[str, int], ...]
"""A place in the recipe: keys and list indices from the top, ``("variants", 2, "scheme")``."""

_SHOWN = 60


@dataclass(frozen=True)
class Fault:
    """One thing that is wrong at ``loc``. ``message`` holds the rule, the value found and the next step."""

    loc: Loc
    message: str
    line: int | None = None
    """Where ``loc`` alone does not tell (the second of two equal keys)."""


@dataclass
class Origins:
    """Who wrote each place: a line of the file (an int, from 1) or a ``--set`` argument (its text)."""

    of: dict[Loc, int | str] = field(default_factory=dict)

    def find(self, loc: Loc) -> int | str:
        """The origin of ``loc``, or of the nearest block around it."""
        for end in range(len(loc), -1, -1):
            if loc[:end] in self.of:
                return self.of[loc[:end]]
        return 1

    def replace(self, loc: Loc, origin: str) -> None:
        """Records that ``origin`` wrote everything at and below ``loc``."""
        for known in [known for known in self.of if known[: len(loc)] == loc]:
            del self.of[known]
        self.of[loc] = origin


def place(loc: Loc) -> str:
    """``loc`` as a person writes it: ``variants[2].scheme``."""
    text = ""
    for part in loc:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


def render(file: str, faults: Iterable[Fault], origins: Origins) -> str:
    """Every fault on a line of its own, those of the file first, in the order of its lines."""

    def origin_of(fault: Fault) -> int | str:
        return origins.find(fault.loc) if fault.line is None else fault.line

    def order(fault: Fault) -> tuple[bool, int]:
        origin = origin_of(fault)
        return (False, origin) if isinstance(origin, int) else (True, 0)

    lines = []
    for fault in sorted(faults, key=order):
        origin = origin_of(fault)
        start = f"{file}:{origin}: " if isinstance(origin, int) else f"--set {origin}: "
        where = f"{place(fault.loc)}: " if fault.loc else ""
        lines.append(f"{start}{where}{fault.message}")
    return "\n".join(dict.fromkeys(lines))


def nearest(word: str, allowed: Sequence[str]) -> str:
    """``"; did you mean 'int8'?"`` where a name of ``allowed`` is close to ``word``, else ``""``."""
    by_lower = {name.lower(): name for name in allowed}
    close = difflib.get_close_matches(word.lower(), by_lower, n=1, cutoff=0.6)
    return f"; did you mean '{by_lower[close[0]]}'?" if close else ""


def shown(value: object) -> str:
    """``value`` in a message: as YAML would write it, blocks by their kind, long texts cut."""
    if value is None:
        return "nothing (null)"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (int, float)):
        return "a huge number" if isinstance(value, int) and value.bit_length() > 200 else str(value)
    if isinstance(value, str):
        return repr(value if len(value) <= _SHOWN else value[: _SHOWN - 3] + "...")
    return "a mapping" if isinstance(value, dict) else "a list"


def at(tree: Tree, loc: Loc) -> tuple[Loc, Tree]:
    """As much of ``loc`` as ``tree`` really has, and the value there."""
    for depth, part in enumerate(loc):
        in_block = isinstance(tree, dict) and part in tree
        in_list = isinstance(tree, list) and isinstance(part, int) and 0 <= part < len(tree)
        if not (in_block or in_list):
            return loc[:depth], tree
        tree = tree[part]  # type: ignore[index]  # mypy follows no flags
    return loc, tree
