"""The demo's child: writes scikit-learn's handwritten digits as PNG files and trains a small Keras CNN on them."""

from __future__ import annotations

import io
import os
import random
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tflite_ptq import atomic
from tflite_ptq.worker.child import ReportProgress, serve
from tflite_ptq.worker.demo_messages import DemoRequest, Train, Trained, WriteDigits, Written

if TYPE_CHECKING:
    import keras

Pixels: TypeAlias = NDArray[np.uint8]
Batch: TypeAlias = tuple[NDArray[np.float32], NDArray[np.int64]]

SEED = 0
LARGEST = 16
"""scikit-learn's scans hold whole numbers 0..16: how many of the 4x4 pixels of the original were inked."""
_TEST_SHARE = 0.25
_EPOCHS = 6
_BATCH = 64
_LEARNING_RATE = 0.004


def main() -> None:
    """Entry of the child process."""
    # Whatever the user chose for Keras elsewhere: the converter takes models of the TensorFlow backend, and the same
    # seed is to give the same model.
    os.environ["KERAS_BACKEND"] = "tensorflow"
    os.environ["TF_DETERMINISTIC_OPS"] = "1"
    serve(DemoRequest, _handle)


def _handle(request: WriteDigits | Train, progress: ReportProgress) -> Written | Trained:
    if isinstance(request, WriteDigits):
        return _write(Path(request.folder), progress)
    return _train(Path(request.folder), progress)


def to_grey(scans: NDArray[np.floating]) -> Pixels:
    """Values 0..16 as grey levels 0..255, rounded; ``to_scan`` gives back exactly what went in."""
    grey: Pixels = np.rint(scans * (255 / LARGEST)).astype(np.uint8)
    return grey


def to_scan(grey: Pixels) -> Pixels:
    """The inverse of ``to_grey``: grey levels as values 0..16."""
    scans: Pixels = np.rint(grey * (LARGEST / 255)).astype(np.uint8)
    return scans


def held_out(labels: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Which samples are for the test, (N,) bool: a quarter of each class, drawn from the seed."""
    generator = random.Random(SEED)
    test = np.zeros(len(labels), bool)
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label).tolist()
        test[generator.sample(members, round(len(members) * _TEST_SHARE))] = True
    return test


def _write(folder: Path, progress: ReportProgress) -> Written:
    from sklearn.datasets import load_digits

    digits = load_digits()
    images, labels = to_grey(digits.images), digits.target
    test = held_out(labels)
    for index, (image, label) in enumerate(zip(images, labels, strict=True)):
        png = io.BytesIO()
        Image.fromarray(image).save(png, "PNG")
        subset = "test" if test[index] else "train"
        atomic.write(folder / subset / str(label) / f"{index:04}.png", png.getvalue())
        progress(index + 1, len(images))
    return Written(train=int((~test).sum()), test=int(test.sum()))


def _train(folder: Path, progress: ReportProgress) -> Trained:
    import keras

    keras.utils.set_random_seed(SEED)
    model = _network()
    images, labels = shifted(*_read(folder / "train"))
    steps = _EPOCHS * -(-len(images) // _BATCH)
    rate = keras.optimizers.schedules.CosineDecay(_LEARNING_RATE, steps)
    model.compile(keras.optimizers.Adam(rate), loss="sparse_categorical_crossentropy")
    told = keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, _: progress(epoch + 1, _EPOCHS))
    model.fit(images, labels, batch_size=_BATCH, epochs=_EPOCHS, verbose=0, callbacks=[told])
    _save(model, folder / "model.keras")
    images, labels = _read(folder / "test")
    right = model.predict(images, verbose=0).argmax(axis=1) == labels
    return Trained(top1=float(right.mean()), parameters=model.count_params())


def _read(folder: Path) -> Batch:
    """All images below class folders: (N, 8, 8, 1) float32 in 0..1, and (N,) int64 classes."""
    files = sorted(folder.glob("[0-9]/*.png"))
    images: NDArray[np.float32] = np.stack(
        [np.asarray(Image.open(file).convert("L"), np.float32)[..., np.newaxis] / 255 for file in files]
    ).astype(np.float32)
    return images, np.array([int(file.parent.name) for file in files])


def shifted(images: NDArray[np.float32], labels: NDArray[np.int64]) -> Batch:
    """The images as they are and moved by one pixel each way, empty where they left: (5 N, H, W, C), (5 N,)."""
    height, width = images.shape[1:3]
    padded = np.pad(images, ((0, 0), (1, 1), (1, 1), (0, 0)))
    corners = ((1, 1), (0, 1), (2, 1), (1, 0), (1, 2))
    copies = [padded[:, top : top + height, left : left + width] for top, left in corners]
    return np.concatenate(copies), np.tile(labels, len(copies))


def _network() -> keras.Model:
    """A MobileNet in miniature: depthwise-separable blocks, batch normalisation and ReLU6, (N, 8, 8, 1) to (N, 10)."""
    import keras
    from keras import layers

    def settled(x: keras.KerasTensor) -> keras.KerasTensor:
        return layers.ReLU(6.0)(layers.BatchNormalization(momentum=0.9)(x))

    image = keras.Input((8, 8, 1), name="image")
    x = settled(layers.Conv2D(32, 3, padding="same", use_bias=False)(image))
    for filters, stride in ((64, 1), (96, 2), (128, 1)):
        x = settled(layers.DepthwiseConv2D(3, strides=stride, padding="same", use_bias=False)(x))
        x = settled(layers.Conv2D(filters, 1, use_bias=False)(x))
    x = layers.Dropout(0.3)(layers.GlobalAveragePooling2D()(x))
    return keras.Model(image, layers.Dense(10, activation="softmax", name="digit")(x), name="digits")


def _save(model: keras.Model, path: Path) -> None:
    """Keras picks the format by the suffix, so the file is written under its own name beside, then moved."""
    try:
        beside = Path(tempfile.mkdtemp(prefix=".model.", dir=path.parent))
        try:
            model.save(beside / path.name)
            (beside / path.name).replace(path)
        finally:
            shutil.rmtree(beside, ignore_errors=True)
    except OSError as error:
        raise atomic.write_error(path, error) from error
