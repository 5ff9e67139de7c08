"""Our calibration of 200 samples against TFLiteConverter's calibration stage, alternating.

    python scripts/bench_calibration.py [--rounds N] [--model MODEL]...

Both sides calibrate the same float .tflite on the same samples, which are in memory before the clock starts (repeated
where a model has fewer than 200); each in a process of its own that is used for one model only, as TensorFlow and
LiteRT cannot share one. What is timed, from the bytes of the float file to those of the file that holds the ranges:
ours, ``collect`` and ``with_ranges``; TensorFlow's, ``Calibrator(...).calibrate(...)``, which is what
``TFLiteConverter.convert`` runs. A ratio is of the medians, its spread the smallest and largest of a pair.

Ranges: the largest difference of a minimum or maximum relative to its tensor's span, zero included as the quantizer
does. TensorFlow's calibrator (2.21) reads some inputs of ADD after the sum was written over them in place: these
tensors are counted by themselves where its range is that of input and output together.

With `method: minmax` TensorFlow's calibrator then reads the samples that decide a range once more, for its own ranges
to the last bit (`stock_ranges`): what that adds is told, in the process of TensorFlow's side.

Correction: what it adds to a whole run on vww (one int8 variant, converted and not measured), against the same run
with `correction: none`, all in turn.

Targets: 8 times faster on vww, 4 on ic, no slower on any; ranges within 1e-4; a correction adds at most 3 s (one-pass)
or 20 s (sequential, and auto, which tries both).
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from asked import Asked
from chosen_arrays import Array, arrays, chosen, write
from side_by_side import Bench, Side, alternate, median, run
from two_cores import TwoCores

from tflite_ptq.model.editing import Editable
from tflite_ptq.model.flatbuffer import describe
from tflite_ptq.recipe.loader import load

ROOT = Path(__file__).resolve().parent.parent
MODELS = ("ic", "kws", "vww", "ad", "sww")
TARGETS = {"vww": 8.0, "ic": 4.0}
SAMPLES = 200
RANGE_TARGET = 1e-4
DECISIVE = "decisive.json"
"""Written by our side: positions of the samples that decide a range."""
CORRECTION_TARGETS_S = {"one-pass": 3.0, "sequential": 20.0, "auto": 20.0}
Ranges = dict[str, tuple[float, float]]


def ours(model: bytes, samples: Array, target: Path) -> float:
    """Seconds of our calibration; writes the ranges, by tensor name, to ``target``."""
    from tflite_ptq.measure.environment import cores
    from tflite_ptq.quantize.calibration.collect import collect
    from tflite_ptq.quantize.calibration.statistics import Gather

    started = time.perf_counter()
    editable = Editable(model)
    found, _ = collect(
        editable,
        ["x"],
        range(len(samples)),
        lambda part: ({"x": samples[i]} for i in part),
        Gather(),
        cores(),
        lambda done, total: None,
    )
    editable.with_ranges({tensor: (one.min, one.max) for tensor, one in found.items()})
    seconds = time.perf_counter() - started
    target.write_text(json.dumps({editable.name(i): (one.min, one.max) for i, one in found.items()}))
    decisive = sorted({place for one in found.values() for place in (one.min_at, one.max_at)})
    target.with_name(DECISIVE).write_text(json.dumps(decisive))
    return seconds


def theirs(model: bytes, samples: Array, target: Path) -> float:
    """The same of TensorFlow's."""
    from tensorflow.lite.python.optimize import calibrator

    started = time.perf_counter()
    calibrated = calibrator.Calibrator(model).calibrate(lambda: ([sample] for sample in samples))
    seconds = time.perf_counter() - started
    graph = schema.Model.GetRootAs(bytearray(calibrated), 0).Subgraphs(0)
    tensors = [graph.Tensors(i) for i in range(graph.TensorsLength())]
    found = [(one.Name().decode(), one.Quantization()) for one in tensors]
    limits = {name: (float(q.Min(0)), float(q.Max(0))) for name, q in found if q is not None and q.MinLength()}
    target.write_text(json.dumps(limits))
    return seconds


def settling(model: bytes, samples: Array, target: Path) -> float:
    """Seconds in which TensorFlow's calibrator reads the samples that decided a range of ours."""
    from tflite_ptq.quantize.stock_ranges import stock_ranges

    started = time.perf_counter()
    stock_ranges(model, ([samples[i]] for i in json.loads(target.with_name(DECISIVE).read_text())))
    return time.perf_counter() - started


def serve(side: str, model: str, samples: str, target: str) -> None:
    """A side's process: calibrates once for each line it is sent and answers with the seconds."""
    calibrate: Callable[[bytes, Array, Path], float] = {
        "ours": ours,
        "theirs": theirs,
        "settling": settling,
    }[side]
    content, stacked = Path(model).read_bytes(), np.load(samples)
    calibrate(content, stacked, Path(target))  # imports, page cache
    gc.freeze()  # as the tool's own children do
    for _ in sys.stdin:
        print(calibrate(content, stacked, Path(target)), flush=True)


class Child:
    """The process of a side."""

    def __init__(self, side: str, model: Path, samples: str, target: Path) -> None:
        self._target = target
        self._process = Asked([sys.executable, __file__, "--serve", side, str(model), samples, str(target)])

    def calibrate(self) -> Side:
        """One calibration."""
        self._process.ask()
        return Side(self._process.seconds(), {})

    def ranges(self) -> Ranges:
        """Of the last calibration."""
        loaded: Ranges = json.loads(self._target.read_text())
        return loaded

    def close(self) -> None:
        """Ends the process."""
        self._process.close()


def compare(bench: Bench, model: str) -> None:
    """One model, both sides in turn."""
    out = bench.work / model
    recipe = ROOT / "configs" / f"{model}.yaml"
    run([sys.executable, "-m", "tflite_ptq", "convert", str(recipe), "--only", "float32", "--no-benchmark", "--quiet",
         "--no-cache", "--set", "gate={}", "--output", str(out)])  # fmt: skip
    settings = (f"dataset.calibration.samples={SAMPLES}", "dataset.evaluation=null", "benchmark={}", "gate={}")
    dataset = load(recipe, settings).recipe.dataset
    assert dataset is not None
    float32 = out / "float32.tflite"
    found = arrays(dataset, describe(float32).inputs, chosen(dataset).calibration)
    samples = write(out / "samples.npy", found[np.arange(SAMPLES) % len(found)])
    children = [Child(side, float32, samples, out / f"{side}.json") for side in ("ours", "theirs")]
    with TwoCores() as cores:
        a, b = alternate(bench.rounds, children[0].calibrate, children[1].calibrate, before=cores.measure)
    difference, tensors, overwritten = _compared(float32, children[0].ranges(), children[1].ranges())
    settle = Child("settling", float32, samples, out / "settling.json")
    settled_s = statistics.median(settle.calibrate().seconds for _ in range(bench.rounds))
    for child in (*children, settle):
        child.close()
    ratios = [y.seconds / x.seconds for x, y in zip(a, b, strict=True)]
    ratio, target = median(b) / median(a), TARGETS.get(model, 1.0)
    print(
        f"{model}: ours {median(a):.3f} s, TensorFlow {median(b):.3f} s, {ratio:.1f} times "
        f"({min(ratios):.1f}..{max(ratios):.1f}), target >= {target:.0f}: "
        f"{bench.verdict(f'{model} speed', ratio >= target)}"
    )
    print(f"    {cores.told(ratios)}")
    met = difference <= RANGE_TARGET
    print(
        f"    ranges of {tensors} tensors within {difference:.1e}: {bench.verdict(f'{model} ranges', met)}; "
        f"read by TensorFlow after they were overwritten: {len(overwritten)}"
    )
    decisive = len(json.loads((out / DECISIVE).read_text()))
    print(
        f"    to the last bit (method: minmax): {settled_s:.3f} s more for {decisive} samples, "
        f"{median(b) / (median(a) + settled_s):.1f} times as fast as TensorFlow with all",
        flush=True,
    )


def time_corrections(bench: Bench) -> None:
    """Whole runs on vww with each correction and with none, in turn."""
    settings = ("none", *CORRECTION_TARGETS_S)
    seconds: dict[str, list[float]] = {setting: [] for setting in settings}
    for _ in range(bench.rounds):
        for setting in settings:
            started = time.perf_counter()
            run([sys.executable, "-m", "tflite_ptq", "convert", str(ROOT / "configs" / "vww.yaml"), "--no-benchmark",
                 "--quiet", "--no-cache", "--output", str(bench.work / "corrected"),
                 "--set", f"variants=[{{scheme: int8, correction: {setting}}}]"])  # fmt: skip
            seconds[setting].append(time.perf_counter() - started)
    for setting, target_s in CORRECTION_TARGETS_S.items():
        added = [with_it - without for with_it, without in zip(seconds[setting], seconds["none"], strict=True)]
        typical = statistics.median(added)
        print(
            f"vww: {setting} adds {typical:.2f} s ({min(added):.2f}..{max(added):.2f}) to a run of "
            f"{statistics.median(seconds['none']):.2f} s, target <= {target_s:.0f} s: "
            f"{bench.verdict(f'{setting} correction', typical <= target_s)}",
            flush=True,
        )


def _compared(model: Path, one: Ranges, other: Ranges) -> tuple[float, int, list[str]]:
    """(largest difference relative to its tensor's span, number of tensors, those that TensorFlow read too late)."""
    missing = other.keys() - one.keys()
    if missing:
        raise SystemExit(f"not calibrated by us: {', '.join(sorted(missing))}")
    editable = Editable(model.read_bytes())
    sums: dict[str, str] = {}
    for node in editable.nodes():
        if node.name == "ADD":
            sums.update({editable.name(i): editable.name(node.outputs[0]) for i in node.inputs})
    overwritten, worst = [], 0.0
    for name, seen in other.items():
        difference = _difference(one[name], seen)
        if difference > RANGE_TARGET and name in sums:
            low, high = zip(one[name], one[sums[name]], strict=True)
            if _difference((min(low), max(high)), seen) <= RANGE_TARGET:
                overwritten.append(name)
                continue
        worst = max(worst, difference)
    return worst, len(other) - len(overwritten), overwritten


def _difference(one: tuple[float, float], other: tuple[float, float]) -> float:
    """Relative to the span of ``other``, both with zero."""
    a, b, c, d = min(one[0], 0.0), max(one[1], 0.0), min(other[0], 0.0), max(other[1], 0.0)
    return max(abs(a - c), abs(b - d)) / max(d - c, 1e-30)


def main() -> None:
    """Compares the models and exits with 1 where a target was missed."""
    if sys.argv[1:2] == ["--serve"]:
        serve(*sys.argv[2:])
        return
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5, help="pairs measured (5)")
    parser.add_argument("--model", choices=MODELS, action="append", help="only this model; may be repeated")
    asked = parser.parse_args()
    if asked.rounds < 1:
        parser.error("--rounds: at least 1")
    data = Path(os.environ.get("TFLITE_PTQ_REAL_DATA") or ROOT.parent / "shared" / "data").absolute()
    if not (data / "mlperf_tiny").is_dir():
        parser.error(f"no mlperf_tiny/ below {data}; set TFLITE_PTQ_REAL_DATA")
    os.environ["TFLITE_PTQ_REAL_DATA"] = str(data)
    with tempfile.TemporaryDirectory(prefix="bench-calibration-") as folder:
        bench = Bench(Path(folder), asked.rounds, tuple(asked.model or MODELS), [])
        for model in bench.models:
            compare(bench, model)
        if "vww" in bench.models:
            time_corrections(bench)
    if bench.missed:
        raise SystemExit(f"missed: {', '.join(bench.missed)}")


if __name__ == "__main__":
    main()
