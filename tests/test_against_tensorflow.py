"""Our int8 file against the one that TFLiteConverter, called by hand, makes of the same model and samples.

The five MLPerf Tiny models are the cases. Which samples calibrate comes from the recipe; how they are read is written
out here once more, with numpy and Pillow alone.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter, OpResolverType
from numpy.typing import NDArray
from PIL import Image

from tflite_ptq.data.index import SampleRef
from tflite_ptq.data.split import split
from tflite_ptq.recipe.loader import load
from tflite_ptq.worker.messages import Convert, Converted, Opened, OpenSource
from tflite_ptq.worker.process import Worker

ROOT = Path(__file__).parents[1]
DATA = Path(os.environ.get("TFLITE_PTQ_REAL_DATA", ROOT / "../shared/data")).resolve()
SAMPLES = 100
Array = NDArray[Any]

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not (DATA / "mlperf_tiny").is_dir(), reason=f"no real models at {DATA} (TFLITE_PTQ_REAL_DATA)"),
]


def kws(ref: SampleRef) -> Array:
    stored = np.fromfile(ref.file, "<i1").reshape(1, 49, 10, 1)
    return (0.5847029089927673 * (stored.astype(np.float64) - 83)).astype(np.float32)


def ic(ref: SampleRef) -> Array:
    return np.asarray(Image.open(ref.file).convert("RGB"), np.float32)[None]


def vww(ref: SampleRef) -> Array:
    image = Image.open(ref.file).convert("RGB").resize((96, 96), Image.Resampling.BILINEAR)
    return np.asarray(image, np.float32)[None] / np.float32(255)


def ad(ref: SampleRef) -> Array:
    frames = np.fromfile(ref.file, "<f4").reshape(200, 128)
    assert ref.index is not None
    return frames[ref.index : ref.index + 5].reshape(1, 640)


def sww(ref: SampleRef) -> Array:
    assert ref.index is not None
    with np.load(ref.file) as arrays:
        return arrays["specs"][ref.index][None].astype(np.float32)


MODELS: dict[str, tuple[Callable[[SampleRef], Array], int]] = {
    "kws": (kws, 20),
    "ic": (ic, 20),
    "vww": (vww, 10),
    "ad": (ad, 20),
    "sww": (sww, 10),
}


@dataclass(frozen=True)
class Ours:
    """What the converter child made, and the samples it was told to use."""

    file: Path
    model: Path
    calibration: tuple[SampleRef, ...]
    evaluation: tuple[SampleRef, ...]


def _convert(name: str, child: Worker, folder: Path) -> Ours:
    settings = (f"dataset.calibration.samples={MODELS[name][1]}", "variants=[{scheme: int8, io: int8}]")
    recipe = load(ROOT / "configs" / f"{name}.yaml", settings).recipe
    assert recipe.dataset is not None
    opened = child.ask(OpenSource(model=recipe.model, folder=str(folder / name)), Opened, name)
    request = Convert(
        saved_model=str(folder / name),
        variant=recipe.variants[0],
        inputs=opened.inputs,
        dataset=recipe.dataset,
        target=str(folder / f"{name}.tflite"),
    )
    child.ask(request, Converted, name)
    chosen = split(recipe.dataset)
    return Ours(folder / f"{name}.tflite", Path(recipe.model.path), chosen.calibration, chosen.evaluation)


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Future[Ours]]]:
    """All five conversions, in one converter child that works beside the tests."""
    previous = os.environ.get("TFLITE_PTQ_REAL_DATA")
    os.environ["TFLITE_PTQ_REAL_DATA"] = str(DATA)
    folder = tmp_path_factory.mktemp("ours")
    child = Worker("tflite_ptq.worker.converter", folder / "log.txt", 300)
    with ThreadPoolExecutor(1) as pool:
        yield {name: pool.submit(_convert, name, child, folder) for name in MODELS}
    child.close()
    if previous is None:
        del os.environ["TFLITE_PTQ_REAL_DATA"]
    else:
        os.environ["TFLITE_PTQ_REAL_DATA"] = previous


def by_hand(model: Path, samples: Sequence[Array]) -> bytes:
    import tensorflow as tf
    import tf_keras

    converter = tf.lite.TFLiteConverter.from_keras_model(tf_keras.models.load_model(str(model), compile=False))
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = lambda: ([sample] for sample in samples)
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.inference_input_type = tf.int8
    converter.inference_output_type = tf.int8
    data: bytes = converter.convert()
    return data


def outputs(data: bytes, samples: Sequence[Array]) -> Array:
    """The int8 outputs, on the reference behaviour of LiteRT's own kernels."""
    interpreter = Interpreter(
        model_content=data, experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    )
    interpreter.allocate_tensors()
    (inputs,), (out,) = interpreter.get_input_details(), interpreter.get_output_details()
    assert inputs["dtype"] is np.int8 and out["dtype"] is np.int8
    got = []
    for sample in samples:
        interpreter.set_tensor(inputs["index"], sample.reshape(inputs["shape"]))
        interpreter.invoke()
        got.append(interpreter.get_tensor(out["index"]))
    return np.stack(got)


def quantization(data: bytes) -> list[tuple[float, int]]:
    interpreter = Interpreter(model_content=data)
    return [d["quantization"] for d in (*interpreter.get_input_details(), *interpreter.get_output_details())]


def float_tensors(data: bytes) -> list[str]:
    """Names of all float tensors; a strictly integer file with integer inputs and outputs has none at all."""
    interpreter = Interpreter(model_content=data)
    return [
        detail["name"]
        for detail in interpreter.get_tensor_details()
        if np.dtype(detail["dtype"]).kind == "f" and detail["name"]
    ]


@pytest.mark.parametrize("name", MODELS)
def test_int8_file_computes_what_tensorflow_by_hand_computes(name: str, ours: dict[str, Future[Ours]]) -> None:
    read, calibration_samples = MODELS[name]
    made = ours[name].result()
    assert len(made.calibration) == calibration_samples
    mine = made.file.read_bytes()
    reference = by_hand(made.model, [read(ref) for ref in made.calibration])
    assert quantization(mine) == quantization(reference)

    scale, zero_point = quantization(reference)[0]
    samples = [
        np.clip(np.rint(read(ref) / scale) + zero_point, -128, 127).astype(np.int8) for ref in made.evaluation[:SAMPLES]
    ]
    random = np.random.default_rng(0)  # sww has 35 samples; noise over the whole range does for the rest
    samples += [random.integers(-128, 128, samples[0].shape, np.int8) for _ in range(SAMPLES - len(samples))]
    assert len(samples) == SAMPLES
    want, got = outputs(reference, samples), outputs(mine, samples)
    assert len(np.unique(want, axis=0)) > 1, "the samples tell nothing: one output for all"
    np.testing.assert_array_equal(got, want)
    assert float_tensors(mine) == []
