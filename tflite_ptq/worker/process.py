"""The parent's side of a child process: spawn, ask, watch, bury."""

from __future__ import annotations

import contextlib
import queue
import signal
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from pydantic import ValidationError

from tflite_ptq.errors import WorkerCrash, revive
from tflite_ptq.result import Frozen
from tflite_ptq.worker.replies import Bug, Done, Failed, Progress, Reply
from tflite_ptq.worker.spawning import Early, close_input, spawn

ResultT = TypeVar("ResultT", bound=Frozen)


class ChildBug(Exception):
    """A bug inside a child process; ``str(error)`` is the child's traceback."""


class Worker:
    """A child process that answers one request at a time; started on the first, and again after it died."""

    def __init__(
        self, module: str, log: Path, timeout_s: float, scratch: Path | None = None, early: Early | None = None
    ) -> None:
        """``scratch`` as in ``spawn``; ``early``: the module's process, where one was started, with its own scratch."""
        self._module = module
        self._log = log
        self._scratch = scratch
        self._early = early
        self._timeout_s = timeout_s
        self._process: subprocess.Popen[str] | None = None
        self._ended = False
        self._spawning = threading.Lock()
        self._lines: queue.Queue[str | None] = queue.Queue()

    def start(self) -> None:
        """Spawns the child, so that its imports run while the parent goes on.

        Raises ``WorkerCrash`` after ``kill``: what still waits in another thread must not bring the child back.
        """
        self._log.parent.mkdir(parents=True, exist_ok=True)
        with self._spawning, self._log.open("ab") as log:
            if self._ended:
                raise WorkerCrash(f"{self._module}: ended before the job began")
            early = self._early
            if early is not None and self._process is None:
                self._process = early.adopt(self._log)
            else:
                self._process = spawn(self._module, log, self._scratch)
        self._lines = queue.Queue()
        threading.Thread(target=_pump, args=(self._process, self._lines), daemon=True).start()

    def warm_up(self) -> None:
        """Spawns the child where it is not running: a job for it is to come."""
        if self._process is None or self._process.poll() is not None:
            self.start()

    def ask(
        self, request: Frozen, answer: type[ResultT], what: str, progress: Callable[[int, int], None] | None = None
    ) -> ResultT:
        """The child's answer to a request. ``what`` names stage and variant for the messages.

        Raises the user's error that the child met, ``WorkerCrash`` when it dies or is silent for the timeout, and
        ``ChildBug``.
        """
        self.warm_up()
        process = self._process
        assert process is not None and process.stdin is not None
        try:
            process.stdin.write(request.model_dump_json() + "\n")
            process.stdin.flush()
        except BrokenPipeError:
            close_input(process)  # a child that died before reading shows itself at the next line
        while True:
            try:
                line = self._lines.get(timeout=self._timeout_s)
            except queue.Empty:
                self._stop()
                raise WorkerCrash(
                    f"{what}: no sign of life for {self._timeout_s:.0f} s, so it was ended; if it is only slow, raise "
                    f"timeout_s in the recipe (log: {self._log})"
                ) from None
            if line is None:
                raise WorkerCrash(f"{what}: {self._cause_of_death(process)} (log: {self._log})")
            try:
                reply = Reply.validate_json(line)
            except ValidationError as error:
                raise ChildBug(f"{what}: not a reply: {line[:200]!r}") from error
            match reply:
                case Progress(done=done, total=total):
                    if progress is not None:
                        progress(done, total)
                case Done(result=result):
                    return answer.model_validate_json(result)
                case Failed(error=name, message=message):
                    raise revive(name, message)
                case Bug(traceback=text):
                    raise ChildBug(f"{what}\n{text}")

    def kill(self) -> None:
        """Ends the child at once, for good."""
        with self._spawning:
            self._ended = True
            self._stop()

    def _stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def close(self) -> None:
        """Lets the child end by itself; ends it where it does not."""
        if self._process is None:
            return
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        try:
            self._process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            self.kill()

    def _cause_of_death(self, process: subprocess.Popen[str]) -> str:
        code = process.wait()
        if self._early is not None and self._early.process is process:
            with self._log.open("ab") as log:
                log.write(self._early.last_words())
        if code >= 0:
            return f"the process ended by itself with exit code {code}"
        name = signal.Signals(-code).name if -code in set(signal.Signals) else str(-code)
        hint = {
            "SIGKILL": "; the system may have run out of memory",
            "SIGABRT": "; TensorFlow or LiteRT gave up inside C++",
            "SIGSEGV": "; a bug inside TensorFlow or LiteRT, or a broken model file",
        }.get(name, "")
        return f"the process was killed by {name}{hint}"


def _pump(process: subprocess.Popen[str], lines: queue.Queue[str | None]) -> None:
    assert process.stdout is not None
    for line in process.stdout:
        lines.put(line)
    lines.put(None)
