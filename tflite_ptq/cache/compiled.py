"""The report's templates as an earlier run compiled them: a third of what an unchanged recipe still costs.

Jinja has a cache on disk of its own, but bytecode that was damaged would crash the process; an entry's hash tells.
"""

from __future__ import annotations

import base64
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version

from jinja2 import BytecodeCache
from jinja2.bccache import Bucket

from tflite_ptq.cache.key import Key, digest_of
from tflite_ptq.cache.origin import report_code_sha256
from tflite_ptq.cache.session import Cache
from tflite_ptq.result import Frozen


class _Compiled(Frozen):
    """Bytecode, base64, by Jinja's key of the template."""

    templates: dict[str, str]


class _Held(BytecodeCache):
    def __init__(self, compiled: dict[str, str]) -> None:
        self.compiled = compiled

    def load_bytecode(self, bucket: Bucket) -> None:
        if bucket.key in self.compiled:
            bucket.bytecode_from_string(base64.b64decode(self.compiled[bucket.key]))

    def dump_bytecode(self, bucket: Bucket) -> None:
        self.compiled[bucket.key] = base64.b64encode(bucket.bytecode_to_string()).decode("ascii")


@contextmanager
def templates(cache: Cache) -> Iterator[BytecodeCache]:
    """What an earlier run compiled; where that is nothing, what is compiled inside the block is kept."""
    key = Key(
        "templates",
        digest_of({"python": sys.version, "jinja": version("jinja2"), "code": report_code_sha256()}),
    )
    found = cache.look(key, _Compiled, "the templates")
    held = _Held(dict(found.templates) if found is not None else {})
    yield held
    if found is None:
        cache.keep(key, _Compiled(templates=held.compiled))
