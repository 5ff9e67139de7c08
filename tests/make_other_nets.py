"""Trains small nets of many kinds on scikit-learn's digits; run as a script, so that only it imports TensorFlow.

For each: FOLDER/<name>/model.keras, calibration.npz and evaluation.npz with an array an input, and labels.npy of the
evaluation samples. Images are (8, 8, 1) float32, 0..1; a quarter of the digits is never trained on.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras import layers
from sklearn.datasets import load_digits

EPOCHS = 12


def _image() -> Any:
    return keras.Input((8, 8, 1), name="image")


def _scores(x: Any) -> Any:
    return layers.Dense(10, activation="softmax", name="scores")(x)


def residual() -> Any:
    """Convolutions with batch normalization around two shortcuts."""
    inputs = _image()
    x = layers.Conv2D(16, 3, padding="same", activation="relu")(inputs)
    for stride in (1, 2):
        y = layers.Conv2D(16, 3, stride, padding="same", use_bias=False)(x)
        y = layers.ReLU()(layers.BatchNormalization()(y))
        y = layers.BatchNormalization()(layers.Conv2D(16, 3, padding="same", use_bias=False)(y))
        x = layers.ReLU()(layers.Add()([x if stride == 1 else layers.Conv2D(16, 1, stride)(x), y]))
    return keras.Model(inputs, _scores(layers.GlobalAveragePooling2D()(x)))


def inverted_residual() -> Any:
    """MobileNetV3's block: expansion, depthwise, squeeze-and-excite, projection; hard-swish."""
    inputs = _image()
    x = layers.Conv2D(12, 3, padding="same", activation="hard_silu")(inputs)
    for _ in range(2):
        y = layers.Activation("hard_silu")(layers.BatchNormalization()(layers.Conv2D(36, 1, use_bias=False)(x)))
        y = layers.DepthwiseConv2D(3, padding="same", use_bias=False)(y)
        y = layers.Activation("hard_silu")(layers.BatchNormalization()(y))
        squeezed = layers.Dense(8, activation="relu")(layers.GlobalAveragePooling2D(keepdims=True)(y))
        y = layers.Multiply()([y, layers.Dense(36, activation="hard_sigmoid")(squeezed)])
        x = layers.Add()([x, layers.BatchNormalization()(layers.Conv2D(12, 1, use_bias=False)(y))])
    return keras.Model(inputs, _scores(layers.GlobalAveragePooling2D()(x)))


def dense_only() -> Any:
    """Three dense layers."""
    inputs = _image()
    x = layers.Flatten()(inputs)
    for width in (48, 24):
        x = layers.Dense(width, activation="relu")(x)
    return keras.Model(inputs, _scores(x))


def convolution_1d() -> Any:
    """Rows as time steps."""
    inputs = _image()
    x = layers.Reshape((8, 8))(inputs)
    x = layers.Conv1D(24, 3, padding="causal", activation="relu")(x)
    x = layers.Conv1D(24, 3, padding="same", dilation_rate=2, activation="relu")(x)
    return keras.Model(inputs, _scores(layers.Flatten()(layers.MaxPooling1D(2)(x))))


def transformer() -> Any:
    """Rows as tokens: attention, layer normalization, GELU."""
    inputs = _image()
    x = layers.Dense(16)(layers.Reshape((8, 8))(inputs))
    y = layers.MultiHeadAttention(2, 8)(x, x)
    x = layers.LayerNormalization()(layers.Add()([x, y]))
    y = layers.Dense(16)(layers.Dense(32, activation="gelu")(x))
    x = layers.LayerNormalization()(layers.Add()([x, y]))
    return keras.Model(inputs, _scores(layers.Flatten()(x)))


def two_inputs() -> Any:
    """The upper and the lower half, joined by a concatenation."""
    halves = [keras.Input((4, 8, 1), name=name) for name in ("upper", "lower")]
    parts = [layers.Conv2D(12, 3, padding="same", activation="relu")(half) for half in halves]
    x = layers.Conv2D(16, 3, activation="relu")(layers.Concatenate(axis=1)(parts))
    return keras.Model(halves, _scores(layers.Flatten()(x)))


def two_outputs() -> Any:
    """The digit, and whether it is odd."""
    inputs = _image()
    x = layers.Conv2D(12, 3, activation="relu")(inputs)
    x = layers.Flatten()(layers.Conv2D(16, 3, 2, activation="relu")(x))
    odd = layers.Dense(1, activation="sigmoid", name="odd")(layers.Dense(12, activation="relu")(x))
    return keras.Model(inputs, [_scores(x), odd])


def transposed() -> Any:
    """Down to 4x4 and up again by a transposed convolution, as in segmentation networks."""
    inputs = _image()
    x = layers.Conv2D(16, 3, 2, padding="same", activation="relu")(inputs)
    x = layers.Conv2DTranspose(12, 3, 2, padding="same", activation="relu")(x)
    x = layers.Concatenate()([x, layers.Conv2D(8, 3, padding="same", activation="relu")(inputs)])
    x = layers.Conv2DTranspose(12, 2, padding="valid", use_bias=False)(x)
    return keras.Model(inputs, _scores(layers.Flatten()(layers.AveragePooling2D(3)(x))))


NETS: dict[str, Callable[[], Any]] = {
    net.__name__: net
    for net in (
        residual,
        inverted_residual,
        dense_only,
        convolution_1d,
        transformer,
        two_inputs,
        two_outputs,
        transposed,
    )
}


def main(folder: Path, names: list[str]) -> None:
    """Trains the nets named."""
    digits = load_digits()
    images, labels = (digits.images[..., None] / 16).astype(np.float32), digits.target
    held_out = np.arange(len(labels)) % 4 == 0
    for name in names:
        keras.utils.set_random_seed(0)
        model = NETS[name]()
        out = folder / name
        out.mkdir(parents=True)

        def fed(which: np.ndarray, two: bool = name == "two_inputs") -> dict[str, np.ndarray]:
            chosen = images[which]
            return {"upper": chosen[:, :4], "lower": chosen[:, 4:]} if two else {"image": chosen}

        losses: Any = "sparse_categorical_crossentropy"
        targets: Any = labels[~held_out]
        if name == "two_outputs":
            losses, targets = [losses, "binary_crossentropy"], [targets, targets % 2]
        model.compile(keras.optimizers.Adam(0.005), losses)
        model.fit(fed(~held_out), targets, batch_size=64, epochs=EPOCHS, verbose=0)
        model.save(out / "model.keras")
        np.savez(out / "calibration.npz", **fed(np.flatnonzero(~held_out)[:200]))  # type: ignore[arg-type]
        np.savez(out / "evaluation.npz", **fed(held_out))  # type: ignore[arg-type]
        np.save(out / "labels.npy", labels[held_out])


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:] or list(NETS))
