"""The second run of an unchanged recipe against the first: whole processes, in turn, each pair on a cache of its own.

    python scripts/bench_cache.py [--rounds N] [--model MODEL]...

For each of the five MLPerf Tiny recipes, without latency: the second run's seconds (target < 1.5 s), its ratio to the
first, and the first run's ratio to a run with --no-cache (what keeping costs). The three run in turn, so that a
machine that slows down slows all. The models and data are those below $TFLITE_PTQ_REAL_DATA (default ../shared/data
from the project's root).
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

from side_by_side import run

ROOT = Path(__file__).resolve().parent.parent
MODELS = ("ic", "kws", "vww", "ad", "sww")
TARGET_S = 1.5


def timed(model: str, out: Path, *more: str) -> tuple[float, dict[str, object]]:
    """Seconds of the whole process, and its report."""
    recipe = str(ROOT / "configs" / f"{model}.yaml")
    command = [sys.executable, "-m", "tflite_ptq", "convert", recipe, "--set", "benchmark.latency=null", "--quiet"]
    started = time.perf_counter()
    run([*command, "--output", str(out), *more])
    seconds = time.perf_counter() - started
    return seconds, json.loads((out / "report.json").read_text(encoding="utf-8"))


def measure(model: str, rounds: int, work: Path) -> bool:
    """Prints one model's line; whether the target was met."""
    without: list[float] = []
    first: list[float] = []
    second: list[float] = []
    for number in range(rounds):
        cache = str(work / f"cache-{model}-{number}")
        seconds, plain = timed(model, work / "plain", "--no-cache")
        without.append(seconds)
        seconds, made = timed(model, work / "first", "--cache-dir", cache)
        first.append(seconds)
        seconds, found = timed(model, work / "second", "--cache-dir", cache)
        second.append(seconds)
        same = all(report["variants"] == plain["variants"] for report in (made, found))
        if not same or not found["cached"]:
            raise SystemExit(f"{model}: the second run is not the first one's result, or did not use the cache")
    middle = statistics.median(second)
    ratios = [b / a for a, b in zip(first, second, strict=True)]
    keeping = [b / a for a, b in zip(without, first, strict=True)]
    print(
        f"{model}: second run {middle:.2f} s ({min(second):.2f}..{max(second):.2f}), target < {TARGET_S} s: "
        f"{'met' if middle < TARGET_S else 'MISSED'}; second/first {statistics.median(ratios):.3f} "
        f"({min(ratios):.3f}..{max(ratios):.3f}); first {statistics.median(first):.2f} s, first/--no-cache "
        f"{statistics.median(keeping):.3f} ({min(keeping):.3f}..{max(keeping):.3f})",
        flush=True,
    )
    return middle < TARGET_S


def main() -> None:
    """Measures the models and exits with 1 where the target was missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3, help="rounds of three runs each (3)")
    parser.add_argument("--model", choices=MODELS, action="append", help="only this model; may be repeated")
    asked = parser.parse_args()
    if asked.rounds < 1:
        parser.error("--rounds: at least 1")
    data = Path(os.environ.get("TFLITE_PTQ_REAL_DATA") or ROOT.parent / "shared" / "data").absolute()
    if not (data / "mlperf_tiny").is_dir():
        parser.error(f"no mlperf_tiny/ below {data}; set TFLITE_PTQ_REAL_DATA")
    os.environ["TFLITE_PTQ_REAL_DATA"] = str(data)
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # an installation has its modules compiled
    run([sys.executable, "-c", "import tensorflow, tf_keras, ai_edge_litert.interpreter"])  # into the page cache
    with tempfile.TemporaryDirectory(prefix="bench-cache-") as folder:
        met = [measure(model, asked.rounds, Path(folder)) for model in asked.model or MODELS]
    if not all(met):
        raise SystemExit("missed")


if __name__ == "__main__":
    main()
