"""One look for each variant in every plot: a colour and a shape, told apart without colour too. Pure."""

from __future__ import annotations

from collections.abc import Sequence

COLOURS = tuple(f"var(--s{number})" for number in range(8))
"""The page gives them values: Okabe and Ito's palette, which colour-blind readers can tell apart."""
_SHAPES = ("circle", "square", "diamond", "triangle-up", "cross", "triangle-down", "triangle-right", "triangle-left")


def colour_scale(names: Sequence[str]) -> dict[str, object]:
    """A Vega-Lite scale from the names of all variants to colours."""
    return {"domain": list(names), "range": [COLOURS[i % len(COLOURS)] for i in range(len(names))]}


def shape_scale(names: Sequence[str]) -> dict[str, object]:
    """The same to shapes; where colours come round again the shapes have moved on by one."""
    shapes = [_SHAPES[(i + i // len(COLOURS)) % len(_SHAPES)] for i in range(len(names))]
    return {"domain": list(names), "range": shapes}
