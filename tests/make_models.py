"""Writes small models in every form that a source may have; run as a script, so that only it imports TensorFlow."""

import sys
from pathlib import Path

import keras
import tensorflow as tf


class Sine(tf.Module):
    """y = sin(x) + x: TensorFlow Lite has no integer kernel for SIN."""

    @tf.function(input_signature=[tf.TensorSpec([None, 4], tf.float32, name="x")])
    def serve(self, x):
        return {"y": tf.sin(x) + x}


class Open(tf.Module):
    """An unknown dimension beside the batch."""

    @tf.function(input_signature=[tf.TensorSpec([None, None, 2], tf.float32, name="x")])
    def serve(self, x):
        return {"y": tf.reduce_sum(x, axis=1)}


class Blows(tf.Module):
    """y is infinite where x[0] is above 1."""

    @tf.function(input_signature=[tf.TensorSpec([1, 4], tf.float32, name="x")])
    def serve(self, x):
        return {"y": x / tf.nn.relu(1.0 - x[:, :1])}


class String(tf.Module):
    """A type of input that no folder of samples holds."""

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="text")])
    def serve(self, text):
        return {"length": tf.strings.length(text)}


def odd_inputs(folder: Path) -> None:
    """Models that do not take one float image (H, W, C) of a fixed size."""
    layers = keras.layers

    def scores(x: object) -> object:
        return layers.Dense(3)(layers.GlobalAveragePooling2D()(layers.Conv2D(4, 3)(x)))

    left, right = keras.Input((8, 8, 3), name="left"), keras.Input((8, 8, 3), name="right")
    keras.Model([left, right], layers.Add()([scores(left), scores(right)])).save(folder / "pair.keras")
    first = keras.Input((3, 8, 10), name="pixels")
    keras.Model(first, scores(layers.Permute((2, 3, 1))(first))).save(folder / "first.keras")
    pixels = keras.Input((8, 8, 3), dtype="uint8", name="image")
    of_bytes = keras.Model(pixels, scores(layers.Rescaling(1 / 255)(keras.ops.cast(pixels, "float32"))))
    of_bytes.save(folder / "bytes.keras")
    of_bytes.export(str(folder / "bytes_saved"), verbose=False)
    frames = keras.Input((None, 5), name="frames")
    pooled = layers.GlobalAveragePooling1D()(layers.Conv1D(4, 5)(frames))
    keras.Model(frames, layers.Dense(3)(pooled)).save(folder / "length.keras")
    keras.Model(frames, layers.Dense(3)(layers.GRU(4)(frames))).save(folder / "loop.keras")


def main(folder: Path) -> None:
    keras.utils.set_random_seed(0)
    cnn = keras.Sequential(
        [
            keras.Input((8, 8, 1), name="image"),
            keras.layers.Conv2D(4, 3, activation="relu"),
            keras.layers.Flatten(),
            keras.layers.Dense(3, activation="softmax"),
        ]
    )
    cnn.save(folder / "tiny.keras")
    cnn.save(folder / "tiny.h5")
    cnn.export(str(folder / "tiny_saved"), verbose=False)
    (folder / "tiny.tflite").write_bytes(tf.lite.TFLiteConverter.from_saved_model(str(folder / "tiny_saved")).convert())
    cnn.save_weights(folder / "only.weights.h5")
    keras.Sequential([keras.Input((4,)), keras.layers.Lambda(lambda x: x * 2, name="twice")]).save(
        folder / "lambda.keras"
    )
    photo = keras.Input((None, None, 3), name="image")
    pooled = keras.layers.GlobalAveragePooling2D()(keras.layers.Conv2D(4, 3)(photo))
    keras.Model(photo, keras.layers.Dense(3)(pooled)).save(folder / "photo.keras")
    image = keras.Input((8, 8, 1), name="image")
    scaled = keras.layers.Flatten()(keras.layers.Rescaling(1 / 255)(image))
    keras.Model(image, keras.layers.Dense(3)(scaled)).save(folder / "scaled.keras")
    odd_inputs(folder)
    for module in (Sine(), Open(), Blows(), String()):
        signatures = {"serving_default": module.serve}
        tf.saved_model.save(module, str(folder / type(module).__name__.lower()), signatures=signatures)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
