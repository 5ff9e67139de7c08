"""Figures of a JSON document as HTML: each is looked up by its place, so none can differ from the document.

``data-pointer`` holds the place (a JSON pointer, RFC 6901) and ``data-value`` the exact JSON value; ``data-over`` is
the place of what it was divided by. ``data-source`` names the document where it is not ``report.json``.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TypeVar

from markupsafe import Markup

from tflite_ptq.report import units
from tflite_ptq.result import Frozen

Step = str | int | tuple[str | int, ...]
"""A key or a place in a list, or several of them at once."""

FigureT = TypeVar("FigureT", int, float, bool)

NONE = Markup('<span class="none" title="not measured">{}</span>').format(units.NOT_MEASURED)


class Figures:
    """The figures of one document. Pure."""

    def __init__(self, document: Frozen, source: str | None = None) -> None:
        self._document: object = document.model_dump()
        self._source = Markup("") if source is None else Markup(' data-source="{}"').format(source)

    def at(self, *path: Step) -> object:
        """What stands at ``path``; ``None`` where it, or something on the way, is ``None`` or absent."""
        found = self._document
        for step in _flat(path):
            if isinstance(found, Mapping):
                found = found.get(step)
            elif isinstance(found, Sequence) and isinstance(step, int) and step < len(found):
                found = found[step]
            else:
                return None
        return found

    def figure(self, shown: Callable[[FigureT], str], *path: Step) -> Markup:
        """The number or boolean at ``path``, written by ``shown``; a dash where there is none."""
        value = self.at(*path)
        return NONE if value is None else self._tag(shown(value), value, path)  # type: ignore[arg-type]

    def interval(self, shown: Callable[[float], str], *path: Step) -> Markup:
        """Both ends of the ``Interval`` at ``path``; nothing where there is none."""
        if self.at(*path) is None:
            return Markup("")
        low, high = (self.figure(shown, *path, end) for end in ("low", "high"))
        return Markup('<span class="interval">{} to {}</span>').format(low, high)

    def ratio(self, over: tuple[str | int, ...], under: tuple[str | int, ...]) -> Markup:
        """The figure at ``over`` divided by the one at ``under``, as ``0.31×``."""
        above, below = self.at(*over), self.at(*under)
        if not isinstance(above, (int, float)) or not isinstance(below, (int, float)) or not below:
            return NONE
        by = Markup(' data-over="{}"').format(_pointer(under))
        return self._tag(units.times(above / below), above / below, over, by)

    def _tag(self, text: str, value: object, path: Sequence[Step], more: str = "") -> Markup:
        return Markup('<span class="figure" data-pointer="{}" data-value="{}"{}{}>{}</span>').format(
            _pointer(path), json.dumps(value), more, self._source, text
        )


def _pointer(path: Sequence[Step]) -> str:
    return "".join(f"/{str(step).replace('~', '~0').replace('/', '~1')}" for step in _flat(path))


def _flat(path: Sequence[Step]) -> Iterator[str | int]:
    for step in path:
        if isinstance(step, tuple):
            yield from step
        else:
            yield step
