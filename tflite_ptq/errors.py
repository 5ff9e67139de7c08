"""Every error a user can meet, with its exit code. Knows nothing of click, numpy or TensorFlow.

A message holds the file, the rule that was broken, the value found and the next step; it is printed as it stands,
without a traceback. Whatever is not a ``UserError`` is a bug: it keeps its traceback and exits with ``EXIT_BUG``.
"""

from __future__ import annotations

from typing import ClassVar

EXIT_OK = 0
EXIT_BUG = 1
EXIT_USAGE = 2
EXIT_INPUT = 3
EXIT_FAILED = 4
EXIT_GATE = 5
EXIT_INTERRUPTED = 130


class UserError(Exception):
    """Something the user can mend. ``str(error)`` is the whole message."""

    exit_code: ClassVar[int] = EXIT_USAGE


class UsageError(UserError):
    """The command line asks for something that cannot be (a variant that the recipe does not have, say)."""


class RecipeError(UserError):
    """The recipe is wrong. The message holds every fault found, one a line."""


class OutputError(UserError):
    """The output folder cannot be created or written."""


class ModelError(UserError):
    """The model cannot be opened or used."""

    exit_code: ClassVar[int] = EXIT_INPUT


class DataError(UserError):
    """The dataset, its labels or one of its samples cannot be used."""

    exit_code: ClassVar[int] = EXIT_INPUT


class ConversionError(UserError):
    """A conversion failed; other variants may have succeeded."""

    exit_code: ClassVar[int] = EXIT_FAILED


class MeasurementError(UserError):
    """An audit, an evaluation or a timing failed; other variants may have succeeded."""

    exit_code: ClassVar[int] = EXIT_FAILED


class DiskFullError(UserError):
    """No space was left while a result was being written; what was finished before is kept."""

    exit_code: ClassVar[int] = EXIT_FAILED


class WorkerCrash(UserError):
    """A child process died or hung. The message names the stage, the variant, the signal and the log."""

    exit_code: ClassVar[int] = EXIT_FAILED


_BY_NAME: dict[str, type[UserError]] = {
    cls.__name__: cls
    for cls in (
        UsageError,
        RecipeError,
        OutputError,
        ModelError,
        DataError,
        ConversionError,
        MeasurementError,
        DiskFullError,
        WorkerCrash,
    )
}


def revive(name: str, message: str) -> UserError:
    """The error that a child process named in its message, as the same class in this process."""
    return _BY_NAME[name](message)
