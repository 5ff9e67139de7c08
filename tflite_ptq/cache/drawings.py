"""Plots that an earlier run drew, by their specification: drawing is half of what an unchanged recipe still costs."""

from __future__ import annotations

import json
from collections.abc import Callable
from importlib.metadata import version

from tflite_ptq.cache.key import Key, digest_of
from tflite_ptq.cache.session import Cache
from tflite_ptq.result import Frozen


class _Drawn(Frozen):
    svg: str


def through(cache: Cache, draw: Callable[[dict[str, object]], str]) -> Callable[[dict[str, object]], str]:
    """``draw``, asked once for each plot that the cache does not hold."""
    engine = version("vl-convert-python")
    known: dict[str, str] = {}

    def drawn(spec: dict[str, object]) -> str:
        digest = digest_of({"engine": engine, "spec": json.dumps(spec, sort_keys=True)})
        if digest not in known:
            known[digest] = cache.through(Key("plot", digest), _Drawn, "a plot", lambda: _Drawn(svg=draw(spec))).svg
        return known[digest]

    return drawn
