"""Our int8 models against TFLiteConverter's and litert-quantizer's: how closely they follow float, on other samples.

    python scripts/bench_quality.py [--model MODEL]... [--set KEY=VALUE]...

For each MLPerf Tiny model the three make an int8 model with the same calibration samples: ours with the default
settings of configs/<model>.yaml, TFLiteConverter as its guide says, litert-quantizer with static_wi8_ai8 (needs the
extra ``bench``; left out, with a line that says so, where it is not installed). Judged on evaluation samples that
none of them saw:

SQNR        10 log10(sum of squares of the float outputs / sum of squares of the differences), dB; a difference of
            two with its standard error (jackknife over the samples)
            before a last softmax as well: there no sample that is undecided outweighs all others
splits      sww has 45 samples in all: with 20 to calibrate and 25 to judge, one undecided sample moves a figure by
            10 dB. It is split anew by ten seeds, and judged on all that was held out; in how many splits ours was
            ahead is told as well, and the figures of seed 0, the recipe's own.
top-1       where the samples have labels; noise: one standard error of the paired difference

Targets: SQNR never below TFLiteConverter's and above litert-quantizer's; vww at least 36.5 dB; kws and ic top-1 not
below TFLiteConverter's by more than two standard errors. Numbers, not times: one run is enough.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import math
import os
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from ai_edge_litert.interpreter import Interpreter
from chosen_arrays import Array, arrays, chosen, write
from numpy.typing import NDArray
from side_by_side import Bench, run

from tflite_ptq.model.editing import Editable
from tflite_ptq.model.flatbuffer import describe
from tflite_ptq.quantize.correction.samples import judged_tensors
from tflite_ptq.recipe.loader import load

ROOT = Path(__file__).resolve().parent.parent
BARE = ROOT / "scripts" / "bare"
MODELS = ("ic", "kws", "vww", "ad", "sww")
SETTINGS = {
    # Few samples to calibrate with and many others to judge on, of images that are not the network's own.
    "vww": ("dataset.calibration.samples=167", "dataset.evaluation.samples=500", "dataset.evaluation.select=random"),
}
SEEDS = {"sww": range(10)}
VWW_TARGET_DB = 36.5
Reals = NDArray[np.float64]
FLOAT, OURS, STOCK, GOOGLE = "float", "tflite-ptq", "TFLiteConverter", "litert-quantizer"


@dataclass(frozen=True)
class Judged:
    """``noise``: per sample, sum of squares of the differences to float, over all splits that held it out. ``right``:
    per sample held out, whether the class is; ``None`` without labels."""

    sqnr_db: float
    noise: Reals
    right: NDArray[np.bool_] | None


@dataclass(frozen=True)
class Split:
    """What float and the three models answer on the samples held out, which ``names`` and ``labels`` belong to; before
    a last softmax too, where there is one."""

    names: list[str]
    labels: list[int | None]
    outputs: dict[str, list[Reals]]
    logits: dict[str, list[Reals]]
    calibrated: int
    correction: str


def compare(bench: Bench, model: str, settings: tuple[str, ...]) -> None:
    """One model, three ways."""
    seeds = SEEDS.get(model)
    splits = [
        _split(bench.work / f"{model}{number}", model, (*settings, *more))
        for number, more in enumerate([()] if seeds is None else [(f"dataset.calibration.seed={s}",) for s in seeds])
    ]
    count = "" if len(splits) == 1 else f", in {len(splits)} splits"
    print(f"{model}: {splits[0].calibrated} samples to calibrate, {len(splits[0].names)} others to judge{count}")
    judged = _judged(splits)
    logits = _judged(splits, before_softmax=True)
    for name, one in judged.items():
        before = f"   before the softmax {logits[name].sqnr_db:6.2f} dB" if logits else ""
        top1 = "" if one.right is None else f"   top-1 {one.right.mean():.4f}"
        print(f"    {name:17}{one.sqnr_db:6.2f} dB{before}{top1}")
    if GOOGLE in logits:
        print(f"    before the softmax against {GOOGLE} {_gain(logits[OURS], logits[GOOGLE])}")
    if len(splits) > 1:
        _by_split(splits)
    print(f"    {splits[0].correction}")
    labels = [label for split in splits for label in split.labels]
    reference = [one for split in splits for one in split.outputs[FLOAT]]
    _targets(bench, model, judged, None if labels[0] is None else _right(reference, labels))


def _by_split(splits: list[Split]) -> None:
    """What the first split says, and how many say the same."""
    each = [_judged([split]) for split in splits]
    print(f"    the first split alone: {', '.join(f'{name} {one.sqnr_db:.2f} dB' for name, one in each[0].items())}")
    for other in each[0].keys() - {OURS}:
        ahead = sum(one[OURS].sqnr_db > one[other].sqnr_db for one in each)
        level = sum(one[OURS].sqnr_db == one[other].sqnr_db for one in each)
        print(f"    against {other}: ahead in {ahead} splits, level in {level}, behind in {len(each) - ahead - level}")


def _split(out: Path, model: str, settings: tuple[str, ...]) -> Split:
    out.mkdir()
    recipe = ROOT / "configs" / f"{model}.yaml"
    words = [word for setting in ("gate={}", *settings) for word in ("--set", setting)]
    run([sys.executable, "-m", "tflite_ptq", "convert", str(recipe), "--only", "int8", "--no-benchmark", "--quiet",
         "--no-cache", *words, "--output", str(out)])  # fmt: skip
    loaded = load(recipe, settings).recipe
    dataset, float32 = loaded.dataset, out / "float32.tflite"
    assert dataset is not None
    inputs = describe(float32).inputs
    samples = chosen(dataset)
    calibration = write(out / "calibration.npy", arrays(dataset, inputs, samples.calibration))
    files = {FLOAT: float32, OURS: out / "int8.tflite", STOCK: out / "stock.tflite"}
    run([sys.executable, str(BARE / "int8.py"), loaded.model.path, calibration, str(files[STOCK])])
    if importlib.util.find_spec("litert_quantizer") is not None:
        files[GOOGLE] = out / "google.tflite"
        run([sys.executable, str(BARE / "litert_static.py"), str(float32), calibration, str(files[GOOGLE])])
    held_out = arrays(dataset, inputs, samples.evaluation)
    return Split(
        names=[ref.name for ref in samples.evaluation],
        labels=[ref.label for ref in samples.evaluation],
        outputs={name: _outputs(file.read_bytes(), held_out) for name, file in files.items()},
        logits={name: _outputs(content, held_out) for name, content in _before_softmax(files).items()},
        calibrated=len(samples.calibration),
        correction=_correction(out),
    )


def _judged(splits: list[Split], *, before_softmax: bool = False) -> dict[str, Judged]:
    """Each model over all splits; empty where there is no softmax."""
    found = [split.logits if before_softmax else split.outputs for split in splits]
    names = np.unique([name for split in splits for name in split.names], return_inverse=True)[1]
    labels = [label for split in splits for label in split.labels]
    outputs = {model: [one for each in found for one in each[model]] for model in found[0]}
    return {model: _judge(outputs[FLOAT], got, labels, names) for model, got in outputs.items() if model != FLOAT}


def _targets(bench: Bench, model: str, judged: dict[str, Judged], in_float: NDArray[np.bool_] | None) -> None:
    ours, stock, google = judged[OURS], judged[STOCK], judged.get(GOOGLE)
    print(f"    against {STOCK} {_gain(ours, stock)}: {bench.verdict(f'{model} SQNR', ours.sqnr_db >= stock.sqnr_db)}")
    if google is not None:
        ahead = bench.verdict(f"{model} against {GOOGLE}", ours.sqnr_db > google.sqnr_db)
        print(f"    against {GOOGLE} {_gain(ours, google)}: {ahead}")
    if model == "vww":
        print(f"    at least {VWW_TARGET_DB} dB: {bench.verdict('vww dB', ours.sqnr_db >= VWW_TARGET_DB)}")
    if ours.right is None or stock.right is None or in_float is None:
        return
    difference = ours.right.astype(float) - stock.right.astype(float)
    error = float(difference.std(ddof=1)) / math.sqrt(len(difference))
    met = difference.mean() >= -2 * error
    print(
        f"    top-1 {difference.mean():+.4f} (+-{error:.4f}) against {STOCK}, float {in_float.mean():.4f}: "
        f"{bench.verdict(f'{model} top-1', bool(met))}",
        flush=True,
    )


def _gain(ours: Judged, other: Judged) -> str:
    """Difference of the SQNRs with its standard error by the jackknife: each sample left out once."""
    count = len(ours.noise)
    left_out = [np.maximum(one.noise.sum() - one.noise, 1e-30) for one in (ours, other)]
    gains = 10 * np.log10(left_out[1] / left_out[0])
    return f"{ours.sqnr_db - other.sqnr_db:+.2f} dB (+-{float(gains.std()) * math.sqrt(count - 1):.2f})"


def _before_softmax(files: dict[str, Path]) -> dict[str, bytes]:
    """The models up to the input of a last softmax, which makes much of little where a sample is undecided; nothing
    where there is none."""
    whole = Editable(files[FLOAT].read_bytes())
    cut = {}
    for name, file in files.items():
        model = Editable(file.read_bytes())
        sought, found = judged_tensors(whole, model)
        if found == model.outputs:
            return {}
        cut[name] = model.showing(found if name != FLOAT else sought)
    return cut


def _outputs(model: bytes, samples: Array) -> list[Reals]:
    """Real values of the one output of each sample."""
    interpreter = Interpreter(model_content=model)
    interpreter.allocate_tensors()
    (fed,), (read,) = interpreter.get_input_details(), interpreter.get_output_details()
    found = []
    for sample in samples:
        interpreter.set_tensor(fed["index"], _stored(sample, fed))
        interpreter.invoke()
        value = interpreter.get_tensor(read["index"]).astype(np.float64)
        scale, zero_point = read["quantization"]
        found.append(scale * (value - zero_point) if read["dtype"] is not np.float32 else value)
    return found


def _stored(sample: Array, details: dict[str, Any]) -> NDArray[np.generic]:
    """A real input as the model takes it: round(real / scale) + zero_point, within the dtype."""
    if details["dtype"] is np.float32:
        return sample
    scale, zero_point = details["quantization"]
    limits = np.iinfo(details["dtype"])
    return np.clip(np.rint(sample / scale) + zero_point, limits.min, limits.max).astype(details["dtype"])


def _judge(reference: list[Reals], got: list[Reals], labels: list[int | None], samples: NDArray[np.intp]) -> Judged:
    signal = math.fsum(float(np.sum(want**2)) for want in reference)
    noise = np.array([float(np.sum((a - b) ** 2)) for a, b in zip(reference, got, strict=True)])
    sqnr = 10 * math.log10(signal / math.fsum(noise)) if noise.any() else math.inf
    return Judged(sqnr, np.bincount(samples, noise), None if labels[0] is None else _right(got, labels))


def _right(outputs: list[Reals], labels: list[int | None]) -> NDArray[np.bool_]:
    return np.array([int(one.argmax()) == label for one, label in zip(outputs, labels, strict=True)])


def _correction(out: Path) -> str:
    """What the report says of it."""
    report = json.loads((out / "report.json").read_text(encoding="utf-8"))
    found = next(variant["correction"] for variant in report["variants"] if variant["name"] == "int8")
    if not found:
        return "no correction"
    states = [layer["status"] for layer in found["layers"]]
    counts = ", ".join(f"{states.count(state)} {state}" for state in ("kept", "refused", "skipped"))
    seconds = report["durations_s"]
    return f"correction {found['method']}: {counts}; convert {seconds.get('convert')} s in all"


def main() -> None:
    """Compares the models and exits with 1 where a target was missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", choices=MODELS, action="append", help="only this model; may be repeated")
    parser.add_argument("--set", action="append", default=[], help="a setting of the recipe, as of tflite-ptq convert")
    asked = parser.parse_args()
    data = Path(os.environ.get("TFLITE_PTQ_REAL_DATA") or ROOT.parent / "shared" / "data").absolute()
    if not (data / "mlperf_tiny").is_dir():
        parser.error(f"no mlperf_tiny/ below {data}; set TFLITE_PTQ_REAL_DATA")
    os.environ["TFLITE_PTQ_REAL_DATA"] = str(data)
    if importlib.util.find_spec("litert_quantizer") is None:
        print(f"{GOOGLE} is not installed (pip install -e '.[bench]'): left out")
    with tempfile.TemporaryDirectory(prefix="bench-quality-") as folder:
        bench = Bench(Path(folder), 1, tuple(asked.model or MODELS), [])
        for model in bench.models:
            compare(bench, model, (*SETTINGS.get(model, ()), *asked.set))
    if bench.missed:
        raise SystemExit(f"missed: {', '.join(bench.missed)}")


if __name__ == "__main__":
    main()
