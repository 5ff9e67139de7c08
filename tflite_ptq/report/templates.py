"""How the templates of the reports are filled, and where they are kept compiled."""

from __future__ import annotations

import contextlib
import sys
from importlib.util import cache_from_source
from pathlib import Path

from jinja2 import Environment, FileSystemBytecodeCache, PackageLoader, StrictUndefined
from jinja2.bccache import Bucket

from tflite_ptq.report import units


def environment(package: str, *, autoescape: bool) -> Environment:
    """Of the templates in ``package``; what a template asks for and is not given is an error."""
    made = Environment(
        loader=PackageLoader(package, ""),
        undefined=StrictUndefined,
        autoescape=autoescape,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        bytecode_cache=_BesideModules(),
    )
    made.filters["brief"] = units.brief
    return made


class _BesideModules(FileSystemBytecodeCache):
    """Compiled templates where Python keeps its compiled modules, which are trusted alike: compiling takes a third of
    what an unchanged recipe still costs."""

    def __init__(self) -> None:
        super().__init__(str(Path(cache_from_source(__file__)).parent), "%s.j2c")

    def dump_bytecode(self, bucket: Bucket) -> None:
        if not sys.dont_write_bytecode:
            with contextlib.suppress(OSError):  # an installation may be read-only
                super().dump_bytecode(bucket)
