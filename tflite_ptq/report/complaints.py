"""What is wrong with a run, one complaint a broken limit or error, with its place in the recipe. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from tflite_ptq.recipe.faults import Loc, Origins
from tflite_ptq.recipe.loader import origins_of
from tflite_ptq.report import units
from tflite_ptq.result import GateCheck, Report


@dataclass(frozen=True)
class Complaint:
    """One thing that is wrong. ``check`` is the gate check's name, or ``error``; ``line`` counts from 1 in the recipe,
    ``None`` where it is not known."""

    variant: str | None
    check: str
    message: str
    line: int | None


def complaints(report: Report) -> tuple[Complaint, ...]:
    """Errors of variants, errors of the run, then broken limits: what must be mended first comes first."""
    origins = None if report.recipe.text is None else origins_of(report.recipe.text)
    found = [
        Complaint(name, "error", f"{name}: {error.removeprefix(f'{name}: ')}", _line(origins, ("variants",)))
        for name, error in ((variant.name, variant.error) for variant in report.variants)
        if error is not None
    ]
    found += [Complaint(None, "error", message, _line(origins, ())) for message in run_errors(report)]
    found += [_broken(report, check, origins) for check in report.gate if not check.passed]
    return tuple(found)


def run_errors(report: Report) -> tuple[str, ...]:
    """The run's errors that no variant carries: the pipeline lists a variant's error among the run's too."""
    told = {variant.error for variant in report.variants}
    return tuple(dict.fromkeys(error for error in report.errors if error not in told))


def verdict(check: GateCheck) -> str:
    """``limit: at least 4.00×; measured: 3.25×``."""
    measured = units.check_measured(check)
    unknown = check.measured is None and not check.passed
    return f"limit: {units.check_limit(check)}; {measured if unknown else f'measured: {measured}'}"


def place_of(check: GateCheck) -> Loc:
    """The recipe's key behind a check: ``("gate", "int8", "latency", "min_speedup")``.

    The names are ``judge``'s; a metric's may hold dots and brackets, so sections and rules are taken from the ends.
    """
    section, dot, rest = check.check.partition(".")
    if not dot:
        return ("gate", check.variant, section)
    if section == "latency":
        rest = rest.partition("[")[0]
    return ("gate", check.variant, section, rest.rpartition(".")[2])


def _broken(report: Report, check: GateCheck, origins: Origins | None) -> Complaint:
    loc = place_of(check)
    message = f"{check.variant}: {check.check} is broken ({verdict(check)})"
    written = _override(report.recipe.overrides, loc)
    if written is not None:
        message += f"; the limit is from --set {written}"
    return Complaint(check.variant, check.check, message, _line(origins, loc))


def _override(overrides: tuple[str, ...], loc: Loc) -> str | None:
    """The last ``--set`` that wrote the place or a block around it."""
    for override in reversed(overrides):
        keys = tuple(override.partition("=")[0].strip().split("."))
        if loc[: len(keys)] == keys:
            return override
    return None


def _line(origins: Origins | None, loc: Loc) -> int | None:
    found = None if origins is None else origins.find(loc)
    return found if isinstance(found, int) else None
