"""``method: minmax``: the model is the one that TFLiteConverter's calibrator and quantizer make of all the samples."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from conftest import Command
from float_chain import RELU, SAME, Chain, Conv, Dense, Plain

from tflite_ptq.errors import ConversionError
from tflite_ptq.model.editing import Editable

pytestmark = pytest.mark.slow


@pytest.fixture
def model(tmp_path: Path) -> Path:
    rng = np.random.default_rng(3)

    def weights(*shape: int) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
        return rng.normal(0, 0.3, shape).astype(np.float32)

    layers = [
        Conv(weights(16, 3, 3, 8), weights(16), (1, 9, 9, 16), RELU, SAME),
        Conv(weights(16, 3, 3, 16), weights(16), (1, 9, 9, 16), RELU, SAME),
        Dense(weights(7, 9 * 9 * 16), weights(7), (1, 7)),
        Plain("TANH"),
    ]
    made = Chain((1, 9, 9, 8), layers).build(tmp_path).to_bytes()
    (tmp_path / "net.tflite").write_bytes(made)
    return tmp_path / "net.tflite"


def by_hand(model: Path, samples: list[np.ndarray[tuple[int, ...], np.dtype[np.float32]]]) -> Editable:
    from tensorflow.lite.python.convert import mlir_quantize
    from tensorflow.lite.python.optimize.calibrator import Calibrator

    calibrated = Calibrator(model.read_bytes()).calibrate(lambda: ([sample[None]] for sample in samples))
    return Editable(bytes(mlir_quantize(calibrated)))


def test_all_numbers_are_those_of_tensorflow(
    run: Command, write_recipe: Callable[..., Path], model: Path, tmp_path: Path
) -> None:
    """Bad samples, which are skipped, do not shift which samples decide."""
    samples = [s.astype(np.float32) for s in np.random.default_rng(4).normal(size=(40, 9, 9, 8))]
    (tmp_path / "samples").mkdir()
    for i, sample in enumerate(samples):
        good = i % 6 != 1
        np.save(tmp_path / "samples" / f"{i:02}.npy", sample if good else sample[:5])
    dataset = {
        "format": {"type": "npy"},
        "on_bad_sample": "skip",
        "calibration": {"path": str(tmp_path / "samples"), "method": "minmax"},
    }
    variant = {"scheme": "int8", "correction": "none"}
    ended = run("convert", write_recipe(model, dataset, [variant]), "--output", tmp_path / "run", "--no-benchmark")
    assert ended.code == 0, ended.err
    ours = Editable((tmp_path / "run" / "int8.tflite").read_bytes())
    theirs = by_hand(model, [sample for i, sample in enumerate(samples) if i % 6 != 1])
    assert ours.named().keys() == theirs.named().keys()
    for name, i in ours.named().items():
        one, other = ours.affine(i), theirs.affine(theirs.named()[name])
        if one is not None and other is not None:
            np.testing.assert_array_equal(one.scale, other.scale, name)
            np.testing.assert_array_equal(one.zero_point, other.zero_point, name)
        if ours.is_constant(i):
            np.testing.assert_array_equal(ours.constant(i), theirs.constant(theirs.named()[name]), name)


def test_what_tensorflow_cannot_calibrate() -> None:
    from tflite_ptq.quantize.stock_ranges import stock_ranges

    with pytest.raises(ConversionError, match="TensorFlow's calibrator failed"):
        stock_ranges(b"not a model", ())
