"""``report.json``, ``report.md`` and ``latency.json``: written whole or not at all; the report is read back."""

from __future__ import annotations

import json
from pathlib import Path

from pydantic import ValidationError

from tflite_ptq import atomic
from tflite_ptq.errors import UsageError
from tflite_ptq.report import markdown
from tflite_ptq.result import Report
from tflite_ptq.timing_result import RawTimings

JSON_NAME = "report.json"
MARKDOWN_NAME = "report.md"
TIMINGS_NAME = "latency.json"
_FORMAT: str = Report.model_fields["format"].default


def write(report: Report, folder: Path) -> None:
    """Write ``report.json`` and ``report.md`` into ``folder``, which is made where it is missing.

    Raises:
        DiskFullError: no space is left.
        OutputError: the folder or a file cannot be written.
        ValueError: the report holds NaN or infinity, which JSON has not: a bug of whoever measured.
    """
    text = json.dumps(report.model_dump(), indent=2, ensure_ascii=False, allow_nan=False)
    # JSON first: it is the contract, and must not depend on the other's rendering.
    atomic.write(folder / JSON_NAME, f"{text}\n".encode())
    atomic.write(folder / MARKDOWN_NAME, markdown.render(report).encode())


def write_timings(timings: RawTimings, folder: Path) -> None:
    """Write ``latency.json``: every counted inference. Raises what ``write`` does."""
    atomic.write(folder / TIMINGS_NAME, f"{timings.model_dump_json()}\n".encode())


def read(path: Path) -> Report:
    """The report in a ``report.json``.

    Raises:
        UsageError: the file cannot be read, is no (whole) JSON, or is not of the format that this version writes.
    """
    try:
        data: object = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(
            f"{path}: cannot be read ({error.strerror}); give the report.json of a finished run"
        ) from error
    except UnicodeDecodeError as error:
        raise UsageError(f"{path}: is not UTF-8 text; give the report.json of a finished run") from error
    except json.JSONDecodeError as error:
        raise UsageError(
            f"{path}:{error.lineno}:{error.colno}: not valid JSON ({error.msg}); the file is truncated or was edited: "
            "run `tflite-ptq convert` again to write it anew"
        ) from error
    found = data.get("format") if isinstance(data, dict) else None
    if found != _FORMAT:
        what = "no 'format' key" if found is None else f"format {found!r}"
        raise UsageError(
            f"{path}: expected format '{_FORMAT}', found {what}; use the tflite-ptq version that wrote it, "
            "or run `tflite-ptq convert` again"
        )
    try:
        return Report.model_validate(data)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise UsageError(
            f"{path}: {place}: {first['msg']} (faults: {error.error_count()}); the file was edited or is damaged: "
            "run `tflite-ptq convert` again to write it anew"
        ) from error
