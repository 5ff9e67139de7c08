"""Our latencies beside LiteRT's own benchmark, on the same files, alternating in one run.

    python scripts/bench_latency_fidelity.py [MODEL.tflite...] [--rounds N] [--runs N] [--threads N]

Both sides run XNNPACK with the same number of threads, each round in a fresh process, and are timed by their own code.
Ours is the timer of `tflite-ptq convert` and `benchmark`, theirs is `benchmark_litert_model.py` of ai_edge_litert, with
as many warm-up inferences as ours took until they were steady. Its report rounds to 0.01 ms, so its inferences are
taken where it computes their median. The side that begins changes from round to round.

LiteRT has two interfaces. Theirs calls CompiledModel, as our delegate `compiled` does: that is the comparison. A ratio
is ours / theirs, of the medians over rounds, with its 95 % interval, paired by round. Target: within 3 %; where the
interval reaches over that border nothing is shown.

Beside it, without a target: our delegate `xnnpack`, which is the Interpreter. Its call from Python costs less, as a
model of one operator on one number tells, timed in the same rounds. Of a model of a few µs the call is a good part.

Without MODEL: the published int8 models below $TFLITE_PTQ_REAL_DATA (default ../shared/data from the project's root).
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import flatbuffers
from ai_edge_litert import schema_py_generated as schema
from side_by_side import run

from tflite_ptq.measure.process_medians import LEAST, ratio_interval

ROOT = Path(__file__).resolve().parent.parent
REAL = Path(os.environ.get("TFLITE_PTQ_REAL_DATA", ROOT.parent / "shared" / "data"))
PUBLISHED = (
    "ic/pretrainedResnet_quant",
    "kws/kws_ref_model",
    "vww/vww_96_int8",
    "ad/ad01_int8",
    "sww/str_ww_ref_model",
)
TARGET = 0.03

OURS = """
import json, sys
from tflite_ptq.worker.timer import measure
model, threads, warmup, runs = sys.argv[1], *map(int, sys.argv[2:5])
request = {"model": model, "delegate": sys.argv[5], "threads": threads, "warmup": warmup, "runs": runs, "seconds": 60}
print(json.dumps(measure(request)))
"""
THEIRS = """
import json, runpy, statistics, sys
tool, model, threads, warmup, runs = sys.argv[1:]
names = runpy.run_path(tool)
kept, median = [], statistics.median
statistics.median = lambda values: kept.append([round(1e6 * ms) for ms in values]) or median(values)
sys.argv = [tool, f"--model={model}", f"--num_threads={threads}", f"--warmup_runs={warmup}", f"--num_runs={runs}"]
names["run_benchmark"](names["parse_args"]())
print(json.dumps({"runs_ns": kept[0]}))
"""


@dataclass
class Model:
    """A file and the medians of its rounds in ns: ours, theirs, and ours through the Interpreter; ``warmup`` is what
    ours last took."""

    path: Path
    warmup: int = 0
    ours: list[float] = field(default_factory=list)
    theirs: list[float] = field(default_factory=list)
    interpreter: list[float] = field(default_factory=list)


def main() -> None:
    """Compare and print a line a model; exit code 1 where a ratio misses the target."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", type=Path)
    parser.add_argument("--rounds", type=int, default=10, help=f"at least {LEAST}")
    parser.add_argument("--runs", type=int, default=300)
    parser.add_argument("--threads", type=int, default=1)
    asked = parser.parse_args()
    paths = asked.models or [REAL / "mlperf_tiny" / f"{name}.tflite" for name in PUBLISHED]
    models = [Model(path) for path in paths]
    with tempfile.TemporaryDirectory() as folder:
        call = Model(_almost_empty(Path(folder) / "call.tflite"))
        for number in range(max(asked.rounds, LEAST)):
            for model in (call, *models):
                for time_side in SIDES if number % 2 == 0 else reversed(SIDES):
                    time_side(model, asked.threads, asked.runs)
    print(f"the call alone: ours {_median(call.ours)}, theirs {_median(call.theirs)}, {_through_interpreter(call)}")
    missed = [model.path.name for model in models if not _told(model)]
    if missed:
        print(f"beyond {TARGET:.0%}: {', '.join(missed)}")
    sys.exit(bool(missed))


def _ours(model: Model, threads: int, runs: int) -> None:
    told = _run("-c", OURS, model.path, threads, 10, runs, "compiled")
    model.warmup = told["warmup"]
    model.ours.append(statistics.median(told["runs_ns"]))


def _interpreter(model: Model, threads: int, runs: int) -> None:
    told = _run("-c", OURS, model.path, threads, 10, runs, "xnnpack")
    model.interpreter.append(statistics.median(told["runs_ns"]))


def _theirs(model: Model, threads: int, runs: int) -> None:
    package = find_spec("ai_edge_litert")
    assert package is not None and package.submodule_search_locations
    tool = Path(package.submodule_search_locations[0]) / "tools" / "benchmark_litert_model.py"
    told = _run("-c", THEIRS, tool, model.path, threads, model.warmup or 10, runs)
    model.theirs.append(statistics.median(told["runs_ns"]))


def _run(*arguments: object) -> dict[str, Any]:
    told: dict[str, Any] = json.loads(run([sys.executable, *map(str, arguments)]).splitlines()[-1])
    return told


SIDES = (_ours, _theirs, _interpreter)


def _told(model: Model) -> bool:
    """Prints what came out; whether it is not surely beyond the target."""
    ratio = statistics.median(model.ours) / statistics.median(model.theirs)
    interval = ratio_interval(model.ours, model.theirs)
    assert interval is not None  # there are enough rounds
    met = abs(ratio - 1) <= TARGET
    open_still = interval.low < 1 + TARGET and interval.high > 1 - TARGET
    print(
        f"{model.path.name}: ours {_median(model.ours)}, theirs {_median(model.theirs)}, ratio {ratio:.3f} "
        f"({interval.low:.3f}..{interval.high:.3f}), {len(model.ours)} rounds, target within {TARGET:.0%}: "
        f"{'met' if met else 'not shown' if open_still else 'MISSED'}; {_through_interpreter(model)}",
        flush=True,
    )
    return met or open_still


def _through_interpreter(model: Model) -> str:
    ratio = statistics.median(model.interpreter) / statistics.median(model.theirs)
    return f"through the Interpreter {_median(model.interpreter)}, {ratio:.3f} of theirs"


def _median(medians_ns: list[float]) -> str:
    return f"{statistics.median(medians_ns) / 1000:.2f} µs"


def _almost_empty(path: Path) -> Path:
    """A model of one operator on one number, y = -x."""
    model, graph, operator = schema.ModelT(), schema.SubGraphT(), schema.OperatorT()
    code = schema.OperatorCodeT()
    code.builtinCode, code.deprecatedBuiltinCode, code.version = (
        schema.BuiltinOperator.NEG,
        schema.BuiltinOperator.NEG,
        1,
    )
    graph.tensors = []
    for name in ("x", "y"):
        tensor = schema.TensorT()
        tensor.name, tensor.shape, tensor.type, tensor.buffer = name, [1], schema.TensorType.FLOAT32, 0
        graph.tensors.append(tensor)
    operator.inputs, operator.outputs = [0], [1]
    graph.inputs, graph.outputs, graph.operators = [0], [1], [operator]
    model.version, model.buffers, model.operatorCodes, model.subgraphs = 3, [schema.BufferT()], [code], [graph]
    builder = flatbuffers.Builder(256)
    builder.Finish(model.Pack(builder), b"TFL3")
    path.write_bytes(bytes(builder.Output()))
    return path


if __name__ == "__main__":
    main()
