"""Starting a child process. Imports next to nothing: ``convert`` starts one child before its own imports."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from tflite_ptq.worker.scratch import new_folder

RUNTIME = "tflite_ptq.worker.runtime"
WAITS = "TFLITE_PTQ_CHILD_WAITS"
"""Set for a child whose first line of input is the path of its log, as JSON."""

# Python puts the current folder first on the path of ``-c`` and ``-m``; a user's numpy.py must not become ours.
# What is imported stays: looking for garbage in it takes a sixth of TensorFlow's import.
_START = (
    "import gc, sys; sys.path[:1] = [] if sys.path[0] == '' else sys.path[:1]; "
    "gc.disable(); from {module} import main; gc.freeze(); gc.enable(); main()"
)


def spawn(
    module: str, log: IO[bytes] | None, scratch: Path | None, more: Mapping[str, str] | None = None
) -> subprocess.Popen[str]:
    """A process that runs the module's ``main``. Its errors go to ``log``, or where this process's own go.

    ``scratch``: where its temporary files go, for the owner to remove (a killed child cannot). ``more``: environment
    variables.
    """
    environment = {"TF_CPP_MIN_LOG_LEVEL": "1", **os.environ, **(more or {})}
    if scratch is not None:
        environment["TMPDIR"] = str(scratch)
    return subprocess.Popen(
        [sys.executable, "-c", _START.format(module=module)],
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
    """A child that imports while it is not yet known where its log is; ``scratch`` is its folder."""

    process: subprocess.Popen[str]
    scratch: Path

    def adopt(self, log: Path) -> subprocess.Popen[str]:
        """The process, with ``log`` as the file that its errors go to."""
        assert self.process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # one that has died shows itself when it is asked
            self.process.stdin.write(f"{json.dumps(str(log.absolute()))}\n")
            self.process.stdin.flush()
        return self.process


@contextmanager
def early(module: str) -> Iterator[Early]:
    """Starts the child; it and its folder are gone in the end."""
    scratch = new_folder()
    process = spawn(module, None, scratch, {WAITS: "1"})
    try:
        yield Early(process, scratch)
    finally:
        process.kill()
        process.wait()
        shutil.rmtree(scratch, ignore_errors=True)
