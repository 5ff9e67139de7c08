"""A process that is kept, and asked again and again how long its work takes."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence


class Asked:
    """It answers each empty line of its input with a line of seconds."""

    def __init__(self, command: Sequence[str], environment: Mapping[str, str] | None = None) -> None:
        self._process = subprocess.Popen(
            command,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )

    def ask(self) -> None:
        """Sends it to work; ``seconds`` waits for it."""
        assert self._process.stdin is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()

    def seconds(self) -> float:
        """The answer to what was asked; ends the benchmark where the process died."""
        assert self._process.stdout is not None
        answer = self._process.stdout.readline()
        if not answer:
            raise SystemExit(f"{self._process.args}: died")
        return float(answer)

    def close(self) -> None:
        """Ends the process."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()
