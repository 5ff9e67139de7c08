"""tflite-ptq against the bare script of a TensorFlow user, whole processes side by side, alternating.

    python scripts/bench_vs_bare.py [--rounds N] [--only SCENARIO]... [--model MODEL]...

one-int8   one int8 variant, converted and evaluated (ours also makes and evaluates float32)   ours / bare <= 1.05
four       float32, dynamic, float16 and int8, converted and evaluated                         ours / bare <= 0.5
accuracy   the evaluation alone, of an int8 file made before, over the same samples           bare / ours >= 1.8
help       tflite-ptq --help                                                                  < 0.2 s
memory     peak memory of calibrating on 10,000 samples against 100                           ratio <= 1.1

The models and data are those below $TFLITE_PTQ_REAL_DATA (default ../shared/data from the project's root). Both
sides use the samples that configs/<model>.yaml chooses; latency is not measured. A ratio is of the medians, its
spread the smallest and largest of a pair. Where the samples have no labels (vww) the score is agreement with float32.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from peak_memory import run_and_watch
from side_by_side import Bench, Side, alternate, line, median, run

from tflite_ptq.data.split import split
from tflite_ptq.recipe.loader import load

ROOT = Path(__file__).resolve().parent.parent
SCRIPTS = ROOT / "scripts"
MODELS = ("ic", "kws", "vww")
OURS = [sys.executable, "-m", "tflite_ptq"]
NO_LATENCY = ["--set", "benchmark.latency=null", "--quiet", "--no-cache"]
HELP_TARGET_S = 0.2
MEMORY_TARGET = 1.10
MANY, FEW = 10_000, 100


def one_int8(bench: Bench) -> None:
    """One int8 variant at most 1.05 times the bare script."""
    for model in bench.models:
        _whole(bench, "one-int8", model, ["int8"], ["--only", "int8"], 1.05)


def four(bench: Bench) -> None:
    """Dynamic, float16 and int8 with the float32 yardstick at most half the bare script."""
    variants = ["dynamic", "float16", "int8"]
    only = [word for variant in variants for word in ("--only", variant)]
    for model in bench.models:
        _whole(bench, "four", model, ["float32", *variants], only, 0.5)


def _whole(bench: Bench, scenario: str, model: str, bare: list[str], only: list[str], target: float) -> None:
    samples, out = _samples(bench, model), bench.work / f"{scenario}-{model}"
    out.mkdir(exist_ok=True)
    recipe = str(ROOT / "configs" / f"{model}.yaml")

    def ours_once() -> Side:
        started = time.perf_counter()
        run([*OURS, "convert", recipe, *only, *NO_LATENCY, "--output", str(out)])
        seconds = time.perf_counter() - started
        report = json.loads((out / "report.json").read_text(encoding="utf-8"))
        return Side(seconds, {variant["name"]: _our_score(variant) for variant in report["variants"]})

    def bare_once() -> Side:
        started = time.perf_counter()
        answer = json.loads(run([sys.executable, str(SCRIPTS / "bare" / "ptq.py"), model, samples, str(out), *bare]))
        return Side(time.perf_counter() - started, answer["score"])

    ours, theirs = alternate(bench.rounds, ours_once, bare_once)
    ratios = [a.seconds / b.seconds for a, b in zip(ours, theirs, strict=True)]
    ratio = median(ours) / median(theirs)
    line(bench, f"{scenario} {model}", ours, theirs, "ours/bare", ratio, ratios, f"<= {target}", ratio <= target)


def _our_score(variant: dict[str, dict[str, dict[str, float]]]) -> float | None:
    accuracy, fidelity = variant.get("accuracy") or {}, variant.get("fidelity") or {}
    if "top1" in accuracy:
        return accuracy["top1"]["value"]
    agreement = fidelity.get("agreement")
    return agreement if isinstance(agreement, float) else None


def accuracy(bench: Bench) -> None:
    """Accuracy over the same samples at least 1.8 times faster."""
    target = 1.8
    for model in bench.models:
        samples, out = _samples(bench, model), bench.work / f"accuracy-{model}"
        recipe, file = str(ROOT / "configs" / f"{model}.yaml"), str(out / "int8.tflite")
        run([*OURS, "convert", recipe, "--only", "int8", *NO_LATENCY, "--output", str(out)])
        stage = [sys.executable, str(SCRIPTS / "accuracy_stage.py"), recipe, file]
        loop = [sys.executable, str(SCRIPTS / "bare" / "ptq.py"), model, samples, "--evaluate", file]
        ours, theirs = alternate(bench.rounds, lambda: _stage(stage), lambda: _stage(loop))  # noqa: B023
        ratios = [b.seconds / a.seconds for a, b in zip(ours, theirs, strict=True)]
        ratio = median(theirs) / median(ours)
        line(bench, f"accuracy {model}", ours, theirs, "bare/ours", ratio, ratios, f">= {target}", ratio >= target)


def _stage(command: Sequence[str]) -> Side:
    answer = json.loads(run(command))
    return Side(sum(answer["seconds"].values()), answer["score"])


def show_help(bench: Bench) -> None:
    """The help in under 0.2 s."""
    script = Path(sys.executable).with_name("tflite-ptq")
    command = [str(script), "--help"] if script.exists() else [*OURS, "--help"]
    seconds: list[float] = []
    for _ in range(max(5, bench.rounds) + 1):
        started = time.perf_counter()
        run(command)
        seconds.append(time.perf_counter() - started)
    middle = statistics.median(seconds[1:])  # the first reads the files from the disk
    print(
        f"help: {middle:.3f} s ({min(seconds[1:]):.3f}..{max(seconds[1:]):.3f}), target < {HELP_TARGET_S} s: "
        f"{bench.verdict('help', middle < HELP_TARGET_S)}"
    )


def memory(bench: Bench) -> None:
    """Calibration of 10,000 samples in no more memory than of 100, within a tenth."""
    folder = bench.work / "synthetic"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for index in range(MANY):
        (folder / f"{index:05}.bin").write_bytes(rng.integers(0, 256, 32 * 32 * 3, np.uint8).tobytes())
    dataset = {
        "format": {"type": "raw", "dtype": "uint8", "shape": [32, 32, 3]},
        "calibration": {"path": str(folder), "samples": FEW, "labels": "none"},
    }
    model = {"path": "${TFLITE_PTQ_REAL_DATA}/mlperf_tiny/ic/pretrainedResnet.h5"}
    variants = [{"scheme": "int8", "io": "int8"}]
    recipe = bench.work / "synthetic.yaml"
    recipe.write_text(
        json.dumps({"version": 1, "name": "memory", "model": model, "dataset": dataset, "variants": variants}),
        encoding="utf-8",
    )
    peaks: dict[int, list[int]] = {FEW: [], MANY: []}
    for _ in range(bench.rounds):
        for count in (FEW, MANY):
            out = ["--output", str(bench.work / "memory"), "--no-benchmark", "--quiet", "--no-cache"]
            command = [*OURS, "convert", str(recipe), "--set", f"dataset.calibration.samples={count}", *out]
            code, peak = run_and_watch(command, os.environ)
            if code:
                raise SystemExit(f"{' '.join(command)}: exit code {code}")
            peaks[count].append(peak)
    ratios = [many / few for few, many in zip(peaks[FEW], peaks[MANY], strict=True)]
    few_mib, many_mib = (statistics.median(peaks[count]) / 2**20 for count in (FEW, MANY))
    ratio = many_mib / few_mib
    print(
        f"memory: {MANY:,} samples {many_mib:.0f} MiB, {FEW} samples {few_mib:.0f} MiB, ratio {ratio:.3f} "
        f"({min(ratios):.3f}..{max(ratios):.3f}), target <= {MEMORY_TARGET}: "
        f"{bench.verdict('memory', ratio <= MEMORY_TARGET)}"
    )


def _samples(bench: Bench, model: str) -> str:
    """A file with the samples that the recipe chooses, for the bare script."""
    recipe = load(ROOT / "configs" / f"{model}.yaml").recipe
    assert recipe.dataset is not None
    chosen = split(recipe.dataset)
    path = bench.work / f"{model}.json"
    path.write_text(
        json.dumps(
            {
                "model": recipe.model.path,
                "calibration": [str(ref.file) for ref in chosen.calibration],
                "evaluation": [[str(ref.file), ref.label] for ref in chosen.evaluation],
            }
        ),
        encoding="utf-8",
    )
    return str(path)


SCENARIOS = {"one-int8": one_int8, "four": four, "accuracy": accuracy, "help": show_help, "memory": memory}


def main() -> None:
    """Runs the scenarios and exits with 1 where a target was missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3, help="pairs measured (3)")
    parser.add_argument("--only", choices=SCENARIOS, action="append", help="only this scenario; may be repeated")
    parser.add_argument("--model", choices=MODELS, action="append", help="only this model; may be repeated")
    asked = parser.parse_args()
    if asked.rounds < 1:
        parser.error("--rounds: at least 1")
    data = Path(os.environ.get("TFLITE_PTQ_REAL_DATA") or ROOT.parent / "shared" / "data").absolute()
    if not (data / "mlperf_tiny").is_dir():
        parser.error(f"no mlperf_tiny/ below {data}; set TFLITE_PTQ_REAL_DATA")
    os.environ["TFLITE_PTQ_REAL_DATA"] = str(data)
    run([sys.executable, "-c", "import tensorflow, tf_keras, ai_edge_litert.interpreter"])  # into the page cache
    with tempfile.TemporaryDirectory(prefix="bench-vs-bare-") as folder:
        bench = Bench(Path(folder), asked.rounds, tuple(asked.model or MODELS), [])
        for name in asked.only or SCENARIOS:
            SCENARIOS[name](bench)
    if bench.missed:
        raise SystemExit(f"missed: {', '.join(bench.missed)}")


if __name__ == "__main__":
    main()
