"""``report.json``, what is rendered from it, and ``latency.json``: whole or not at all; the report is read back."""

from __future__ import annotations

import json
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn, TypeAlias

from pydantic import ValidationError

from tflite_ptq import atomic
from tflite_ptq.errors import UsageError
from tflite_ptq.result import Report
from tflite_ptq.timing_result import RawTimings

if TYPE_CHECKING:
    from tflite_ptq.report.html.svg import Engine

JSON_NAME = "report.json"
TIMINGS_NAME = "latency.json"
_FORMAT: str = Report.model_fields["format"].default


# The templates and the plots take half a second to load, which is had for nothing while children work.
def _markdown(report: Report, run: Path, engine: Engine | None) -> str:
    from tflite_ptq.report import markdown

    return markdown.render(report)


def _html(report: Report, run: Path, engine: Engine | None) -> str:
    from tflite_ptq.report.debug_beside import beside
    from tflite_ptq.report.html import page, svg

    return page.render(report, beside(report, run), engine or svg.vega_lite)


def _junit(report: Report, run: Path, engine: Engine | None) -> str:
    from tflite_ptq.report import junit

    return junit.render(report)


_Render: TypeAlias = "Callable[[Report, Path, Engine | None], str]"

RENDERED: dict[str, _Render] = {
    "report.md": _markdown,
    "report.html": _html,
    "junit.xml": _junit,
}
"""File name to what renders it from the report, the run's folder, where ``debug`` may have left its findings, and the
engine of the plots."""

NAMES = (JSON_NAME, *RENDERED)


def write(report: Report, folder: Path, engine: Engine | None = None) -> None:
    """Write ``report.json`` and all that is rendered from it into ``folder``, which is made where it is missing.

    ``engine`` draws the plots that do not depend on timings; ``None``: vl-convert, as it does the others.

    Raises:
        DiskFullError: no space is left.
        OutputError: the folder or a file cannot be written.
        ValueError: the report holds NaN or infinity, which JSON has not: a bug of whoever measured.
    """
    text = json.dumps(report.model_dump(), indent=2, ensure_ascii=False, allow_nan=False)
    # JSON first: it is the contract, and must not depend on the others' rendering.
    atomic.write(folder / JSON_NAME, _bytes(f"{text}\n"))
    render(report, folder, folder, engine)


def load_pages() -> None:
    """Loads what renders reports but for the engine of the plots, for whoever has time to spare."""
    from tflite_ptq.report import markdown
    from tflite_ptq.report.html import page

    import_module("tflite_ptq.report.junit")
    markdown.load()
    page.load()


def load_plots() -> None:
    """Starts the engine of the plots."""
    from tflite_ptq.report.html import svg

    svg.warm_up()


def render(report: Report, run: Path, target: Path, engine: Engine | None = None) -> None:
    """Write what is rendered from the report of the run in ``run`` into ``target``. Raises what ``write`` raises."""
    for name, rendered in RENDERED.items():
        atomic.write(target / name, _bytes(rendered(report, run, engine)))


def _bytes(text: str) -> bytes:
    # A file name that is no UTF-8 reaches us with lone surrogates; \\udcff is how JSON writes one.
    return text.encode(errors="backslashreplace")


def read_run(run: Path) -> Report:
    """The report of a run, named by its folder or by its ``report.json``. Raises ``UsageError`` as ``read`` does."""
    if not run.exists():
        raise UsageError(f"{run}: no such run; give the folder that `tflite-ptq convert` wrote, or its {JSON_NAME}")
    if run.is_dir() and not (run / JSON_NAME).exists():
        raise UsageError(
            f"{run}: holds no {JSON_NAME}; give the folder that `tflite-ptq convert` wrote (it names it at the end: "
            "'Files in ...')"
        )
    return read(run / JSON_NAME if run.is_dir() else run)


def write_timings(timings: RawTimings, folder: Path) -> None:
    """Write ``latency.json``: every counted inference. Raises what ``write`` does."""
    atomic.write(folder / TIMINGS_NAME, f"{timings.model_dump_json()}\n".encode())


def read(path: Path) -> Report:
    """The report in a ``report.json``.

    Raises:
        UsageError: the file cannot be read, is no (whole) JSON, or is not of the format that this version writes.
    """
    text = _text(path)
    found = _format_of(path, text)
    if found != _FORMAT:
        what = "no 'format' key" if found is None else f"format {found!r}"
        raise UsageError(
            f"{path}: expected format '{_FORMAT}', found {what}; use the tflite-ptq version that wrote it, "
            "or run `tflite-ptq convert` again"
        )
    try:
        # Strict: text where a number belongs is a fault, not a number.
        return Report.model_validate_json(text, strict=True)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        cause = "is damaged"
        if all(one["type"] in ("extra_forbidden", "missing") for one in error.errors()):
            cause = "comes from another version of tflite-ptq"
        raise UsageError(
            f"{path}: {place}: {first['msg']} (faults: {error.error_count()}); the file was edited or {cause}: "
            "run `tflite-ptq convert` again to write it anew"
        ) from error


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise UsageError(
            f"{path}: cannot be read ({error.strerror}); give the report.json of a finished run"
        ) from error
    except UnicodeDecodeError as error:
        raise UsageError(f"{path}: is not UTF-8 text; give the report.json of a finished run") from error


def _format_of(path: Path, text: str) -> object:
    """What ``text`` says its format is; ``None`` where it says nothing. Raises ``UsageError`` where it is no JSON."""

    def refuse(constant: str) -> NoReturn:
        raise UsageError(
            f"{path}: holds {constant}, which JSON has not and no report is written with; the file was edited: "
            "run `tflite-ptq convert` again to write it anew"
        )

    try:
        data: object = json.loads(text, parse_constant=refuse)
    except json.JSONDecodeError as error:
        raise UsageError(
            f"{path}:{error.lineno}:{error.colno}: not valid JSON ({error.msg}); the file is truncated or was edited: "
            "run `tflite-ptq convert` again to write it anew"
        ) from error
    except RecursionError as error:
        raise UsageError(f"{path}: nested too deeply for a report; give the report.json of a finished run") from error
    return data.get("format") if isinstance(data, dict) else None
