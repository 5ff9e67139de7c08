"""The figures that a page shows, and whether each is what its document holds: written without the page's own code."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from html.parser import HTMLParser
from typing import Any

# What one unit of the text is in the document's: shares are 0..1, times nanoseconds, sizes bytes.
UNITS = {"": 1.0, "%": 0.01, "pt": 0.01, "B": 1.0, "KiB": 1024.0, "MiB": 1024.0**2, "×": 1.0, "dB": 1.0}
UNITS |= {"ns": 1.0, "µs": 1e3, "ms": 1e6, "s": 1e9}
NUMBER = re.compile(r"([+-]?)([\d,]*\.?\d+(?:e[+-]?\d+)?)\s*(%|pt|B|KiB|MiB|×|dB|ns|µs|ms|s)?$")


@dataclass(frozen=True)
class Shown:
    """A figure on the page: ``pointer`` and ``over`` are JSON pointers into ``source``."""

    pointer: str
    value: str
    text: str
    over: str | None = None
    source: str | None = None


def resolved(document: object, pointer: str) -> Any:
    """RFC 6901."""
    for step in pointer.split("/")[1:]:
        key = step.replace("~1", "/").replace("~0", "~")
        document = document[int(key)] if isinstance(document, list) else document[key]  # type: ignore[index]
    return document


def wrong(figures: Iterable[Shown], documents: Mapping[str | None, object]) -> list[tuple[Shown, str]]:
    """Figures whose exact value is not the document's, or whose text does not round it."""
    found = []
    for one in figures:
        expected = resolved(documents[one.source], one.pointer)
        if one.over is not None:
            expected = expected / resolved(documents[one.source], one.over)
        if json.loads(one.value) != expected or type(json.loads(one.value)) is not type(expected):
            found.append((one, f"the document has {expected!r}"))
        elif not rounds(one, expected):
            found.append((one, f"the text does not say {expected!r}"))
    return found


def rounds(one: Shown, value: bool | float) -> bool:
    """Whether the text is ``value``, rounded to the digits that the text has."""
    if isinstance(value, bool):
        return one.text == ("yes" if value else "no")
    if one.text.startswith("<"):
        return value < float(one.text[1:])
    match = NUMBER.search(one.text)
    if match is None:
        return False
    sign, digits, unit = match.groups()
    scale = UNITS[unit or ""]
    if one.pointer.startswith("/durations_s") or (one.pointer.startswith("/gate") and unit == "ms"):
        scale = 1.0
    mantissa, _, exponent = digits.replace(",", "").partition("e")
    step = 10.0 ** (int(exponent or 0) - len(mantissa.partition(".")[2]))
    said = float(f"{sign}{digits}".replace(",", "")) * scale
    return abs(said - value) <= 0.5 * step * scale * (1 + 1e-6)


class Page(HTMLParser):
    """The figures, ids, tags and attributes of a page's source."""

    VOID = frozenset({"meta", "img", "br", "link", "input"})

    def __init__(self, source: str) -> None:
        super().__init__()
        self.figures: list[Shown] = []
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.text = ""
        self._open: dict[str, str] | None = None
        self.feed(source)

    @property
    def ids(self) -> list[str]:
        return [attributes["id"] for _, attributes in self.tags if "id" in attributes]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = {name: value or "" for name, value in attrs}
        self.tags.append((tag, attributes))
        if "data-value" in attributes:
            self._open = attributes

    def handle_data(self, data: str) -> None:
        self.text += data
        if self._open is not None:
            a = self._open
            self.figures.append(
                Shown(a["data-pointer"], a["data-value"], data, a.get("data-over"), a.get("data-source"))
            )
            self._open = None
