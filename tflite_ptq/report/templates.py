"""How the templates of the reports are filled."""

from __future__ import annotations

from jinja2 import Environment, PackageLoader, StrictUndefined

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
    )
    made.filters["brief"] = units.brief
    return made
