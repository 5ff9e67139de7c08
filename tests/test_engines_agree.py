"""With minmax and no correction the engines litert and tflite make the same models of all five MLPerf Tiny networks.

XNNPACK, which calibrates ours, and TensorFlow's kernels add floats in another order: ranges differ by some 3e-7. That
may turn the rounding of a bias or of an activation by one step, and such steps add up. So of 100 samples one may be two
steps away before a last softmax, which makes up to 15 steps of one.

One exception, which the test explains to the last digit instead of excusing it: TensorFlow's calibrator (2.21) reads
inputs of ADD after LiteRT wrote the sum over them (in-place kernels), so some tensors of ic get the range of input and
sum together. Our ranges are held against LiteRT's reference kernels with all tensors preserved; where TensorFlow's own
are put in their place, the models are the same again.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter, OpResolverType
from numpy.typing import NDArray

from tflite_ptq.data.index import SampleRef
from tflite_ptq.data.reader import Reader
from tflite_ptq.data.split import split
from tflite_ptq.model.editing import Editable
from tflite_ptq.model.flatbuffer import describe
from tflite_ptq.recipe.loader import load
from tflite_ptq.recipe.schema import Recipe, Variant
from tflite_ptq.worker.messages import Converted, Quantize
from tflite_ptq.worker.process import Worker

ROOT = Path(__file__).parents[1]
DATA = Path(os.environ.get("TFLITE_PTQ_REAL_DATA", ROOT / "../shared/data")).resolve()
Array = NDArray[Any]
Range = tuple[float, float]
NAMES = ("kws", "ic", "vww", "ad", "sww")
SCHEMES = ("int8", "int16x8")
OVERWRITTEN = {"ic"}
SAMPLES = 100
PLAIN = OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not (DATA / "mlperf_tiny").is_dir(), reason=f"no real models at {DATA} (TFLITE_PTQ_REAL_DATA)"),
]
VARIANTS = (
    "variants=[{scheme: int8, io: int8, correction: none},"
    "{scheme: int16x8, name: int16x8, io: int16, correction: none}]"
)
SETTINGS = (VARIANTS, "dataset.calibration.samples=20", "gate={}")


@dataclass(frozen=True)
class Pair:
    """What the two engines made of one model."""

    recipe: Recipe
    folder: Path

    def file(self, engine: str, scheme: str) -> Path:
        return self.folder / engine / f"{scheme}.tflite"

    def model(self, engine: str, scheme: str) -> Editable:
        return Editable(self.file(engine, scheme).read_bytes())

    @cached_property
    def samples(self) -> tuple[list[Array], list[Array]]:
        """(calibration samples, others; noise stands in where there are too few), float32 (1, ...)."""
        assert self.recipe.dataset is not None
        inputs = describe(self.folder / "litert" / "float32.tflite").inputs
        reader, chosen = Reader(self.recipe.dataset, inputs), split(self.recipe.dataset)

        def read(refs: Sequence[SampleRef]) -> list[Array]:
            return [np.asarray(reader.read(ref)[inputs[0].name]) for ref in refs]

        calibration, others = read(chosen.calibration), read(chosen.evaluation[:SAMPLES])
        low, high = min(x.min() for x in calibration), max(x.max() for x in calibration)
        random = np.random.default_rng(0)
        while len(others) < SAMPLES:
            others.append(random.uniform(low, high, others[0].shape).astype(np.float32))
        return calibration, others

    @cached_property
    def ranges(self) -> dict[str, Range]:
        """Minimum and maximum of every float activation, by LiteRT's reference kernels with nothing shared."""
        path = self.folder / "litert" / "float32.tflite"
        interpreter = Interpreter(
            model_path=str(path),
            experimental_op_resolver_type=OpResolverType.BUILTIN_REF,
            experimental_preserve_all_tensors=True,
        )
        interpreter.allocate_tensors()
        model = Editable(path.read_bytes())
        found = dict.fromkeys(model.activations(), (np.inf, -np.inf))
        for sample in self.samples[0]:
            interpreter.set_tensor(model.inputs[0], sample)
            interpreter.invoke()
            for i, (low, high) in found.items():
                value = interpreter.get_tensor(i)
                found[i] = min(low, float(value.min())), max(high, float(value.max()))
        return {model.name(i): limits for i, limits in found.items()}


@pytest.fixture(scope="module", params=NAMES)
def pair(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Pair:
    folder: Path = tmp_path_factory.mktemp(request.param)
    env, config = {**os.environ, "TFLITE_PTQ_REAL_DATA": str(DATA)}, ROOT / "configs" / f"{request.param}.yaml"
    for engine in ("litert", "tflite"):
        settings = [word for s in (*SETTINGS, f"dataset.calibration.engine={engine}") for word in ("--set", s)]
        command = [sys.executable, "-m", "tflite_ptq", "convert", str(config), "--no-benchmark", "-q", *settings]
        done = subprocess.run(
            [*command, "--output", str(folder / engine)], env=env, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("TFLITE_PTQ_REAL_DATA", str(DATA))
        return Pair(load(config, SETTINGS).recipe, folder)


def differing_scales(ours: Editable, theirs: Editable) -> dict[str, float]:
    """Relative difference of the activations' scales, where it is above 1e-4; zero points must agree elsewhere."""
    tensors, others = ours.named(), theirs.named()
    found = {}
    for name, i in tensors.items():
        a, b = ours.affine(i), theirs.affine(others[name])
        assert (a is None) == (b is None), name
        if a is None or b is None or ours.is_constant(i):
            continue
        if (difference := abs(a.scale[0] / b.scale[0] - 1)) > 1e-4:
            found[name] = difference
        else:
            assert a.zero_point.tolist() == b.zero_point.tolist(), name
    return found


def scale_of(limits: Range, scheme: str) -> float:
    """int8: 255 steps over a range with zero; int16x8: 32767 steps to the larger side, zero point 0."""
    low, high = min(limits[0], 0.0), max(limits[1], 0.0)
    return (high - low) / 255 if scheme == "int8" else max(-low, high) / 32767


def union(one: Range, other: Range) -> Range:
    return min(one[0], other[0]), max(one[1], other[1])


def sums(model: Editable) -> dict[str, str]:
    """{input of an ADD: its sum}."""
    return {model.name(i): model.name(n.outputs[0]) for n in model.nodes() if n.name == "ADD" for i in n.inputs}


@pytest.mark.parametrize("scheme", SCHEMES)
def test_operators_dtypes_weights_and_scales(pair: Pair, scheme: str) -> None:
    ours, theirs = pair.model("litert", scheme), pair.model("tflite", scheme)
    assert [node.name for node in ours.nodes()] == [node.name for node in theirs.nodes()]
    tensors, others = ours.named(), theirs.named()
    assert tensors.keys() == others.keys()
    for name, i in tensors.items():
        assert (ours.dtype(i), ours.shape(i)) == (theirs.dtype(others[name]), theirs.shape(others[name])), name
        if ours.is_constant(i) and ours.dtype(i) == "int8":
            np.testing.assert_array_equal(ours.constant(i), theirs.constant(others[name]), name)
    overwritten = differing_scales(ours, theirs)
    assert bool(overwritten) <= (pair.recipe.name in OVERWRITTEN)
    assert overwritten or scheme != "int8" or pair.recipe.name not in OVERWRITTEN
    for name in overwritten:
        seen = pair.ranges[name], union(pair.ranges[name], pair.ranges[sums(ours)[name]])
        got = [model.affine(model.named()[name]) for model in (ours, theirs)]
        assert [one.scale[0] for one in got if one] == pytest.approx([scale_of(r, scheme) for r in seen], rel=1e-4)


def before_softmax(file: Path) -> bytes:
    """The model without a last softmax."""
    model = Editable(file.read_bytes())
    *others, last = model.nodes()
    if last.name != "SOFTMAX":
        return model.to_bytes()
    return model.segment(0, len(others), model.inputs, last.inputs)


def outputs(model: bytes, samples: Sequence[Array], kernels: OpResolverType = PLAIN) -> Array:
    """Stored integers; (samples, values)."""
    interpreter = Interpreter(model_content=model, experimental_op_resolver_type=kernels)
    interpreter.allocate_tensors()
    (fed,), (out,) = interpreter.get_input_details(), interpreter.get_output_details()
    (scale, zero_point), limits = fed["quantization"], np.iinfo(fed["dtype"])
    found = []
    for sample in samples:
        stored = np.clip(np.rint(sample / scale) + zero_point, limits.min, limits.max)
        interpreter.set_tensor(fed["index"], stored.astype(fed["dtype"]))
        interpreter.invoke()
        found.append(interpreter.get_tensor(out["index"]).reshape(-1).astype(np.int64))
    return np.stack(found)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_outputs(pair: Pair, scheme: str, tmp_path: Path) -> None:
    ours, theirs = pair.file("litert", scheme), pair.file("tflite", scheme)
    overwritten = differing_scales(pair.model("litert", scheme), pair.model("tflite", scheme))
    if overwritten:
        ours = with_ranges_of_tensorflow(pair, set(overwritten), scheme, tmp_path)
    others = pair.samples[1]
    want, got = outputs(theirs.read_bytes(), others), outputs(ours.read_bytes(), others)
    assert len(np.unique(want, axis=0)) > 1, "the samples tell nothing: one output for all"
    furthest = np.abs(want - got).max(axis=1)
    if scheme == "int16x8":
        assert furthest.max() <= 16, "a sixteenth of a step of int8"
        return
    # Ranges that differ in the seventh digit, as those of other kernels do, round a few values the other way in each
    # layer. LiteRT itself computes one and the same file further apart than that, depending on its kernels.
    logits = [before_softmax(file) for file in (theirs, ours)]
    apart = np.abs(outputs(logits[0], others) - outputs(logits[1], others)).max(axis=1)
    same_file = np.abs(outputs(logits[0], others) - outputs(logits[0], others, OpResolverType.BUILTIN)).max(axis=1)
    assert apart.max() <= max(1, same_file.max())
    assert apart.sum() < max(same_file.sum(), SAMPLES / 10)
    for steps in (apart, furthest):
        assert np.count_nonzero(steps > 1) <= SAMPLES / 10


def with_ranges_of_tensorflow(pair: Pair, overwritten: set[str], scheme: str, folder: Path) -> Path:
    """The model that our way makes of the ranges that TensorFlow's calibrator reads."""
    model = Editable((pair.folder / "litert" / "float32.tflite").read_bytes())
    seen = {n: union(r, pair.ranges[sums(model)[n]]) if n in overwritten else r for n, r in pair.ranges.items()}
    content = model.with_ranges({i: seen[model.name(i)] for i in model.activations()})
    (folder / "calibrated.tflite").write_bytes(content)
    variant = Variant.model_validate({"scheme": scheme, "io": "int8" if scheme == "int8" else "int16"})
    target = folder / "made.tflite"
    request = Quantize(calibrated=str(folder / "calibrated.tflite"), variant=variant, target=str(target))
    child = Worker("tflite_ptq.worker.converter", folder / "log.txt", 300)
    try:
        child.ask(request, Converted, "quantize")
    finally:
        child.kill()
    return target
