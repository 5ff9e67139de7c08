"""Who watches a run."""

from __future__ import annotations

from typing import Protocol


class Observer(Protocol):
    """Told what the run is doing; ``total`` is ``None`` where the length is not known."""

    def stage(self, what: str, done: int, total: int | None) -> None:
        """``what`` names stage and variant."""
