"""One thing that is odd about the calibration data or about what calibration made of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

NAMED = 5  # names that a finding lists at most


@dataclass(frozen=True)
class Finding:
    """``text``: what was found; ``where``: names of samples or tensors, at most ``NAMED``; ``next_step``: what to do,
    empty where nothing is."""

    severity: Literal["warning", "info"]
    text: str
    where: tuple[str, ...]
    next_step: str

    def __str__(self) -> str:
        """One line: what, where, what to do."""
        places = f" ({', '.join(self.where)})" if self.where else ""
        return f"{self.text}{places}; {self.next_step}" if self.next_step else f"{self.text}{places}"


def counted(number: int, noun: str) -> str:
    """``1 sample``, ``2 samples``."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
