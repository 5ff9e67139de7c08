"""The inside of a child process: reads requests, runs their handlers, writes replies.

The replies own the standard output; whatever else is printed, from Python or C++, goes to the standard error, which
the parent has pointed at the log, or a child that was started early points there once it is told of it.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable
from typing import TextIO, TypeAlias, TypeVar

from pydantic import TypeAdapter

from tflite_ptq.errors import UserError
from tflite_ptq.result import Frozen
from tflite_ptq.worker.replies import Bug, Done, Failed, Progress
from tflite_ptq.worker.spawning import EARLY

RequestT = TypeVar("RequestT", bound=Frozen)
ReportProgress: TypeAlias = Callable[[int, int], None]

_PROGRESS_INTERVAL_S = 0.1


def serve(requests: TypeAdapter[RequestT], handle: Callable[[RequestT, ReportProgress], Frozen]) -> None:
    """Answers requests from the standard input until it ends."""
    die_with_parent()
    if EARLY in sys.argv and not _given_log():
        return
    replies = claim_stdout()
    for line in sys.stdin:
        answer(replies, lambda line=line: handle(requests.validate_json(line), _throttled(replies)))  # type: ignore[misc]


def _given_log() -> bool:
    """Waits for the log's path and writes errors there from now on; ``False`` where the parent has changed its mind."""
    line = sys.stdin.readline()
    if not line:
        return False
    log = os.open(json.loads(line), os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    said = os.fstat(2).st_size
    if said:
        os.lseek(2, 0, os.SEEK_SET)
        os.write(log, os.read(2, said))
        os.ftruncate(2, 0)
    os.dup2(log, 2)
    os.close(log)
    return True


def claim_stdout() -> TextIO:
    """The real standard output; file descriptor 1 then leads to the standard error, for C++ as well."""
    real = os.fdopen(os.dup(1), "w", encoding="utf-8", buffering=1)
    os.dup2(2, 1)
    sys.stdout = sys.stderr
    return real


def answer(replies: TextIO, job: Callable[[], Frozen]) -> None:
    """Runs a job and writes how it ended."""
    reply: Frozen
    try:
        reply = Done(result=job().model_dump_json())
    except UserError as error:
        with contextlib.suppress(OSError):  # the log's disk may be the full one that is to be told of
            traceback.print_exc()
        reply = Failed(error=_known_class(error).__name__, message=str(error))
    except Exception:  # whatever is left is a bug, which the parent reports with its traceback
        reply = Bug(traceback=traceback.format_exc())
    replies.write(reply.model_dump_json() + "\n")
    replies.flush()


def die_with_parent() -> None:
    """Asks Linux to kill this process when its parent dies, even inside a long call into C++."""
    if sys.platform == "linux":
        pr_set_pdeathsig = 1
        ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGKILL)


def _known_class(error: UserError) -> type[UserError]:
    """The class of ``tflite_ptq.errors``: a subclass of a room's own is told as its parent."""
    return next(c for c in type(error).__mro__ if c.__module__ == UserError.__module__)


def _throttled(replies: TextIO) -> ReportProgress:
    last = 0.0

    def report(done: int, total: int) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last >= _PROGRESS_INTERVAL_S or done == total:
            last = now
            replies.write(Progress(done=done, total=total).model_dump_json() + "\n")

    return report
