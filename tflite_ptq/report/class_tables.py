"""What a report shows of many classes and samples: the worst, and how many more there are. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tflite_ptq.report import units
from tflite_ptq.result import Classes, ClassResult, VariantResult

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


def class_table(variants: Sequence[VariantResult]) -> ClassTable | None:
    """The classes whose recall fell most in any variant, the worst first; None without classes."""
    known = classified(variants)
    if not known:
        return None
    # Variants of one run share their classes; a longer list knows predictions that no label has.
    longest = max((classes for _, classes in known), key=lambda classes: len(classes.classes)).classes

    def of(classes: Classes, index: int) -> ClassResult | None:
        return classes.classes[index] if index < len(classes.classes) else None

    def worst(index: int) -> float:
        found = (of(classes, index) for _, classes in known)
        return min((one.change for one in found if one is not None and one.change is not None), default=0.0)

    order = sorted(range(len(longest)), key=lambda index: (worst(index), index))[:MOST_CLASSES]
    rows = tuple(
        (longest[i].name, str(longest[i].samples), *(_recall(of(classes, i)) for _, classes in known)) for i in order
    )
    return ClassTable(tuple(name for name, _ in known), rows, len(longest) - len(order))


def confusions(variants: Sequence[VariantResult]) -> tuple[tuple[str, Classes], ...]:
    """The variants whose confusion matrix is small enough to be read and not that of one before (quantization often
    changes no answer)."""
    unlike = {classes.confusion: (name, classes) for name, classes in reversed(classified(variants))}
    return tuple(one for matrix, one in reversed(unlike.items()) if 0 < len(matrix) <= MOST_CONFUSED)


def _recall(found: ClassResult | None) -> str:
    if found is None or found.recall is None:
        return units.NOT_MEASURED
    change = "" if not found.change else f" ({units.metric_change('top1', found.change)})"
    return units.share(found.recall) + change
