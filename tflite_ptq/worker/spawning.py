"""Starting a child process. Imports next to nothing: ``convert`` starts one child before its own imports."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from tflite_ptq.worker.scratch import new_folder

RUNTIME = "tflite_ptq.worker.runtime"
EARLY = "early"
"""The argument of a child whose first line of input is the path of its log, as JSON."""

# Python puts the current folder first on the path of ``-c`` and ``-m``; a user's numpy.py must not become ours.
# What is imported by then stays: looking for garbage in it takes a sixth of TensorFlow's import.
_START = (
    "import gc, sys; sys.path[:1] = [] if sys.path[0] == '' else sys.path[:1]; "
    "gc.disable(); from {module} import main; gc.freeze(); gc.enable(); main()"
)


def spawn(module: str, log: IO[bytes], scratch: Path | None, *arguments: str) -> subprocess.Popen[str]:
    """A process that runs the module's ``main``; its errors go to ``log``.

    ``scratch``: where its temporary files go, for the owner to remove (a killed child cannot).
    """
    environment = {"TF_CPP_MIN_LOG_LEVEL": "1", **os.environ}
    if scratch is not None:
        environment["TMPDIR"] = str(scratch)
    return subprocess.Popen(
        [sys.executable, "-c", _START.format(module=module), *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=log,
        text=True,
        encoding="utf-8",
        start_new_session=True,  # a terminal's Ctrl-C is for the parent, which then ends its children
        env=environment,
    )


@dataclass(frozen=True)
class Early:
    """A child that imports while it is not yet known where its log is; until then its errors go to ``said``."""

    process: subprocess.Popen[str]
    said: Path

    def adopt(self, log: Path) -> subprocess.Popen[str]:
        """The process, with ``log`` as the file that its errors go to, those that it has said among them."""
        assert self.process.stdin is not None
        try:
            self.process.stdin.write(f"{json.dumps(str(log.absolute()))}\n")
            self.process.stdin.flush()
        except BrokenPipeError:  # it has died, and shows that when it is asked
            close_input(self.process)
        return self.process

    def last_words(self) -> bytes:
        """What a child said that died before it had its log; else nothing."""
        try:
            return self.said.read_bytes()
        except OSError:
            return b""


@contextmanager
def early(module: str) -> Iterator[Early]:
    """Starts the child; it and its folder are gone in the end."""
    scratch = new_folder()
    try:
        said = scratch / "said.txt"
        with said.open("w+b") as log:
            process = spawn(module, log, scratch, EARLY)
        try:
            yield Early(process, said)
        finally:
            process.kill()
            process.wait()
            close_input(process)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def close_input(process: subprocess.Popen[str]) -> None:
    """Lets go of what a dead child was not told: Python would try once more at its own end, and complain of that."""
    assert process.stdin is not None
    with contextlib.suppress(BrokenPipeError):
        process.stdin.close()
