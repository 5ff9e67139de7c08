"""What a report shows of many classes and samples: the worst, and how many more there are. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tflite_ptq.report import units
from tflite_ptq.result import Classes, VariantResult

MOST_CLASSES = 20
MOST_CONFUSED = 12
MOST_REGRESSIONS = 12


@dataclass(frozen=True)
class ClassTable:
    """Recall by class (rows: name, samples, one cell a variant); ``left_out`` classes changed less than those shown."""

    variants: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    left_out: int


def classified(variants: Sequence[VariantResult]) -> tuple[tuple[str, Classes], ...]:
    """The variants that have classes, by name."""
    return tuple((variant.name, variant.classes) for variant in variants if variant.classes is not None)


def class_order(variants: Sequence[VariantResult], most: int) -> tuple[int, ...]:
    """The places of the ``most`` classes whose recall changed most in any variant, the worst fall first: one order for
    every plot and table of a report."""
    changes: dict[int, list[float]] = {}
    for _, classes in classified(variants):
        for index, one in enumerate(classes.classes):
            changes.setdefault(index, []).append(one.change or 0.0)
    changed_most = sorted(changes, key=lambda index: (-max(map(abs, changes[index])), index))[:most]
    return tuple(sorted(changed_most, key=lambda index: (min(changes[index]), index)))


def class_table(variants: Sequence[VariantResult]) -> ClassTable | None:
    """Recall by class, in the order of ``class_order``; None without classes."""
    known = classified(variants)
    if not known:
        return None
    # Variants of one run share their classes; a longer list knows predictions that no label has.
    longest = max((classes for _, classes in known), key=lambda classes: len(classes.classes)).classes
    order = class_order(variants, MOST_CLASSES)
    rows = tuple(
        (longest[i].name, str(longest[i].samples), *(_recall(classes, i) for _, classes in known)) for i in order
    )
    return ClassTable(tuple(name for name, _ in known), rows, len(longest) - len(order))


def confusions(variants: Sequence[VariantResult]) -> tuple[tuple[str, Classes], ...]:
    """The variants whose confusion matrix is small enough to be read and not that of one before (quantization often
    changes no answer)."""
    unlike = {classes.confusion: (name, classes) for name, classes in reversed(classified(variants))}
    return tuple(one for matrix, one in reversed(unlike.items()) if 0 < len(matrix) <= MOST_CONFUSED)


def _recall(classes: Classes, place: int) -> str:
    found = classes.classes[place] if place < len(classes.classes) else None
    if found is None or found.recall is None:
        return units.NOT_MEASURED
    change = "" if not found.change else f" ({units.metric_change('top1', found.change)})"
    return units.share(found.recall) + change
