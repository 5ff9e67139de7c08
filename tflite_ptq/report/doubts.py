"""Why medians are to be doubted: each reason once, with all the medians that it is about. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from tflite_ptq.report import units
from tflite_ptq.result import VariantResult

_NUMBER = re.compile(r"(?<![\w.-])\d+(?:\.\d+)?(?![\w-])")
_Place = tuple[str, str]
"""Variant and configuration."""


@dataclass(frozen=True)
class Doubt:
    """``places``: ``a, b and c (cpu, 1 thread)``. Where reasons differ in their numbers only, ``reason`` gives each
    number's range: ``in 4 to 6 of 6 processes``."""

    places: str
    reason: str


def doubts(variants: Sequence[VariantResult]) -> tuple[Doubt, ...]:
    """The warnings of all timings, in the order in which they first occur."""
    timings = [((variant.name, units.configuration(one)), one) for variant in variants for one in variant.latency or ()]
    alike: dict[str, dict[_Place, str]] = {}
    for place, timing in timings:
        for warning in timing.warnings:
            kind = _NUMBER.sub("#", warning)
            # A range of ranges says nothing: such warnings are told as they are.
            alike.setdefault(warning if "# to #" in kind else kind, {})[place] = warning
    everywhere = [place for place, _ in timings]
    return tuple(Doubt(_places(list(found), everywhere), _reason(list(found.values()))) for found in alike.values())


def _reason(warnings: Sequence[str]) -> str:
    ranges = iter([_range(numbers) for numbers in zip(*map(_NUMBER.findall, warnings), strict=True)])
    return _NUMBER.sub(lambda _: next(ranges), warnings[0])


def _range(numbers: Sequence[str]) -> str:
    low, high = min(numbers, key=float), max(numbers, key=float)
    return low if float(low) == float(high) else f"{low} to {high}"


def _places(found: Sequence[_Place], everywhere: Sequence[_Place]) -> str:
    if len(found) == len(everywhere) > 1:
        return f"all {len(found)} medians"
    timed, doubted = _by_configuration(everywhere), _by_configuration(found)
    # Configurations in which the same variants are doubted are told together.
    together: dict[str, list[str]] = {}
    for configuration, names in doubted.items():
        told = "all" if names == timed[configuration] and len(names) > 1 else _listed(names)
        together.setdefault(told, []).append(configuration)
    return "; ".join(f"{names} ({'; '.join(configurations)})" for names, configurations in together.items())


def _by_configuration(places: Iterable[_Place]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for name, configuration in places:
        found.setdefault(configuration, []).append(name)
    return found


def _listed(names: Sequence[str]) -> str:
    return " and ".join(filter(None, (", ".join(names[:-1]), names[-1])))
