"""How much of two cores a machine gives at the moment.

Virtual cores can share one core of the host, and then two processes at once do little more work than one. A target for
two cores says something where they do nearly twice as much.
"""

from __future__ import annotations

import os
import statistics
import sys
from collections.abc import Sequence
from types import TracebackType

from asked import Asked

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
for _ in sys.stdin:
    print(seconds(), flush=True)
"""


class TwoCores:
    """Two processes that multiply matrices when asked to, with a thread each; a context manager."""

    def __enter__(self) -> TwoCores:
        environment = {**os.environ, **dict.fromkeys(("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS"), "1")}
        self.gains: list[float] = []
        self._processes = [Asked([sys.executable, "-c", _SPIN], environment) for _ in range(2)]
        self._seconds(2)  # imports, first touch
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        for process in self._processes:
            process.close()

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
            process.ask()
        return statistics.mean(process.seconds() for process in asked)
