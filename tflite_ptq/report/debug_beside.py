"""The ``debug/debug.json`` that lies in a run's folder, where it is of the run's own model and variants."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from tflite_ptq.debug_result import DebugReport
from tflite_ptq.report import debug_files
from tflite_ptq.result import RecipeInfo, Report

FOLDER_NAME = "debug"
SOURCE = f"{FOLDER_NAME}/{debug_files.JSON_NAME}"


@dataclass(frozen=True)
class DebugBeside:
    """What lies there. ``report`` is ``None`` where it is of no use, for which ``remark`` gives the reason (if there
    is a file at all); beside a report the remark says what differs from the run."""

    report: DebugReport | None = None
    remark: str | None = None


def beside(run: Report, folder: Path) -> DebugBeside:
    """``debug.json`` of the run in ``folder``. Never raises: a report does not depend on it."""
    try:
        data = (folder / FOLDER_NAME / debug_files.JSON_NAME).read_bytes()
    except FileNotFoundError:
        return DebugBeside()
    except OSError as error:
        return DebugBeside(remark=f"{SOURCE} cannot be read ({error.strerror})")
    again = "run `tflite-ptq debug` again"
    try:
        found = DebugReport.model_validate_json(data)
    except ValidationError:
        return DebugBeside(remark=f"{SOURCE} is damaged or of another version: {again}")
    if run.model is None or found.model_sha256 != run.model.sha256:
        return DebugBeside(remark=f"{SOURCE} is of another model than this run's: {again}")
    if found.variant not in {variant.name for variant in run.variants}:
        return DebugBeside(remark=f"{SOURCE} is of variant '{found.variant}', which this run has not: {again}")
    same = (found.recipe.sha256, _made_by(found.recipe)) == (run.recipe.sha256, _made_by(run.recipe))
    return DebugBeside(found, None if same else "the recipe or its overrides have changed since")


def _made_by(recipe: RecipeInfo) -> list[str]:
    """The overrides that change what is made; others change what is measured or asked of it."""
    return [override for override in recipe.overrides if override.startswith(("model", "dataset", "variants"))]
