"""Two sides run in turn, and the line that says what came out."""

from __future__ import annotations

import statistics
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Bench:
    """``work`` is scratch; ``rounds`` is how many pairs are measured; ``missed`` collects what fell short."""

    work: Path
    rounds: int
    models: tuple[str, ...]
    missed: list[str]

    def verdict(self, what: str, met: bool) -> str:
        """``met`` in words, remembered for the end."""
        if not met:
            self.missed.append(what)
        return "met" if met else "MISSED"


@dataclass(frozen=True)
class Side:
    """One run: its seconds and what it scored, by variant."""

    seconds: float
    score: dict[str, float | None]


def alternate(
    rounds: int, ours: Callable[[], Side], bare: Callable[[], Side], before: Callable[[], None] = lambda: None
) -> tuple[list[Side], list[Side]]:
    """A B A B ..., so that a machine that slows down slows both; ``before`` is called before each pair."""
    pairs = []
    for _ in range(rounds):
        before()
        pairs.append((ours(), bare()))
    return [pair[0] for pair in pairs], [pair[1] for pair in pairs]


def run(command: Sequence[str]) -> str:
    """The standard output; ends the benchmark where the command fails, with what it said."""
    done = subprocess.run(command, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}: exit code {done.returncode}\n{done.stderr}")
    return done.stdout


def median(sides: Sequence[Side]) -> float:
    """Seconds."""
    return statistics.median(side.seconds for side in sides)


def line(
    bench: Bench,
    what: str,
    ours: Sequence[Side],
    bare: Sequence[Side],
    name: str,
    ratio: float,
    ratios: Sequence[float],
    target: str,
    met: bool,
) -> None:
    """Prints what came out; ``ratio`` is of the medians, ``ratios`` are those of the pairs."""
    print(
        f"{what}: ours {median(ours):.2f} s, bare {median(bare):.2f} s, {name} {ratio:.2f} "
        f"({min(ratios):.2f}..{max(ratios):.2f}), target {target}: {bench.verdict(what, met)}"
    )
    for side, score in (("ours", ours[-1].score), ("bare", bare[-1].score)):
        shown = ", ".join(f"{variant} {value:.4f}" for variant, value in score.items() if value is not None)
        print(f"    {side} scores: {shown or 'no labels'}", flush=True)
