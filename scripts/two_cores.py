"""How much of two cores a machine gives at the moment.

Virtual cores can share one core of the host, and then two processes at once do little more work than one. A target for
two cores says something where they do nearly twice as much.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
from collections.abc import Sequence
from types import TracebackType

REAL_GAIN = 1.8
"""From here on there were two cores."""
_SPIN = """
import sys, time
import numpy as np
values = np.random.default_rng(0).random((128, 128), np.float32)
def seconds():
    started = time.perf_counter()
    for _ in range(1500):
        values @ values
    return time.perf_counter() - started
seconds()
print(flush=True)
for _ in sys.stdin:
    print(seconds(), flush=True)
"""


class TwoCores:
    """Two processes that multiply matrices when asked to, with a thread each; a context manager."""

    def __enter__(self) -> TwoCores:
        environment = {**os.environ, **dict.fromkeys(("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS"), "1")}
        self.gains: list[float] = []
        self._processes = [
            subprocess.Popen(
                [sys.executable, "-c", _SPIN], env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
            )
            for _ in range(2)
        ]
        for process in self._processes:
            _answer(process)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        for process in self._processes:
            process.communicate()

    def measure(self) -> None:
        """Notes how much work both do at once, as a multiple of one's: 2 on two cores of their own."""
        alone, together = self._seconds(1), self._seconds(2)
        self.gains.append(2 * alone / together)

    def told(self, ratios: Sequence[float]) -> str:
        """What was measured, and the ratios of the rounds (one a measurement) in which there were two cores."""
        low, high = min(self.gains), max(self.gains)
        said = f"two processes at once did {statistics.median(self.gains):.2f} ({low:.2f}..{high:.2f}) times one's work"
        real = [ratio for ratio, gain in zip(ratios, self.gains, strict=True) if gain >= REAL_GAIN]
        if not real:
            return f"{said}; in no round {REAL_GAIN} or more"
        return (
            f"{said}; in the {len(real)} of {len(ratios)} rounds with {REAL_GAIN} or more: "
            f"{statistics.median(real):.2f} times ({min(real):.2f}..{max(real):.2f})"
        )

    def _seconds(self, count: int) -> float:
        asked = self._processes[:count]
        for process in asked:
            assert process.stdin is not None
            process.stdin.write("\n")
            process.stdin.flush()
        return statistics.mean(float(_answer(process)) for process in asked)


def _answer(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    answer = process.stdout.readline()
    if not answer:
        raise SystemExit(f"{process.args!r}: died")
    return answer
