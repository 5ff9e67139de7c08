"""Small models of every kind of source, each saved to disk beside what it itself computes on a few samples."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
N = 8


@dataclass(frozen=True)
class Source:
    """``inputs`` and ``outputs`` hold N samples by name, as the converted files must name them."""

    path: Path
    inputs: Mapping[str, Array]
    outputs: Mapping[str, Array]
    model: Mapping[str, Any] = field(default_factory=dict)


Builder = Callable[[Path], Source]


def reals(*shape: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).normal(size=(N, *shape)).astype(np.float32)


def _saved(model: Any, path: Path, inputs: Mapping[str, Array], outputs: list[str], feed: Any = None) -> Source:
    """Saves a Keras model; ``outputs`` name what it returns, in order (or by key)."""
    fed = feed if feed is not None else list(inputs.values())
    produced = model.predict(fed[0] if isinstance(fed, list) and len(fed) == 1 else fed, verbose=0, batch_size=N)
    if not isinstance(produced, Mapping):
        produced = dict(zip(outputs, produced if isinstance(produced, list) else [produced], strict=True))
    assert list(produced) == outputs
    if path.suffix:
        model.save(path)
    return Source(path, inputs, produced)


def keras3_functional(folder: Path) -> Source:
    import keras

    x = keras.Input((8, 8, 1), name="image")
    y = keras.layers.Conv2D(4, 3, activation="relu")(x)
    y = keras.layers.BatchNormalization()(y)
    y = keras.layers.GlobalAveragePooling2D()(y)
    model = keras.Model(x, keras.layers.Dense(3, name="scores")(y))
    return _saved(model, folder / "m.keras", {"image": reals(8, 8, 1)}, ["scores"])


def keras3_sequential(folder: Path) -> Source:
    import keras

    model = keras.Sequential(
        [keras.Input((6,), name="features"), keras.layers.Dense(5, activation="relu"), keras.layers.Dense(2, name="y")]
    )
    return _saved(model, folder / "m.keras", {"features": reals(6)}, ["y"])


def keras3_sequential_built_by_data(folder: Path) -> Source:
    import keras

    model = keras.Sequential([keras.layers.Dense(5, activation="relu"), keras.layers.Dense(2, name="y")])
    model(np.zeros((1, 6), np.float32))
    name = model.get_config()["layers"][0]["config"]["name"]  # Keras made it an InputLayer
    return _saved(model, folder / "m.keras", {name: reals(6)}, ["y"])


def keras3_two_in_two_out(folder: Path) -> Source:
    import keras

    b = keras.Input((4,), name="b side")  # names that are not alphabetical, with a blank and a dash
    a = keras.Input((4,), name="a-side")
    joined = keras.layers.Concatenate()([b, keras.layers.Dense(4)(a)])
    big, small = keras.layers.Dense(3, name="z-big")(joined), keras.layers.Dense(3, name="small.one")(joined)
    model = keras.Model([b, a], [big, small])
    values = {"b_side": reals(4), "a_side": reals(4, seed=1)}
    source = _saved(model, folder / "m.keras", values, ["z-big", "small.one"])
    return Source(source.path, values, {k.replace("-", "_").replace(".", "_"): v for k, v in source.outputs.items()})


def keras3_dicts(folder: Path) -> Source:
    import keras

    left, right = keras.Input((4,), name="left"), keras.Input((4,), name="right")
    sums = keras.layers.Dense(3, name="dense_a")(keras.layers.Subtract()([left, right]))
    model = keras.Model({"right": right, "left": left}, {"zed": sums, "alpha": keras.layers.Dense(2)(sums)})
    values = {"left": reals(4), "right": reals(4, seed=1)}
    return _saved(model, folder / "m.keras", values, ["zed", "alpha"], feed=dict(values))


def keras3_h5(folder: Path) -> Source:
    import keras

    x = keras.Input((6,), name="x")
    return _saved(keras.Model(x, keras.layers.Dense(2, name="y")(x)), folder / "m.h5", {"x": reals(6)}, ["y"])


def keras3_export(folder: Path) -> Source:
    import keras

    x = keras.Input((6,), name="x")
    model = keras.Model(x, keras.layers.Dense(2, name="y", activation="tanh")(x))
    source = _saved(model, folder / "exported", {"x": reals(6)}, ["output_0"])
    model.export(folder / "exported", verbose=False)
    return source


def _keras2(folder: Path, name: str) -> Source:
    import tf_keras

    x = tf_keras.Input((8, 8, 2), name="image")
    y = tf_keras.layers.DepthwiseConv2D(3, activation="relu6")(x)
    y = tf_keras.layers.Flatten()(tf_keras.layers.BatchNormalization()(y))
    model = tf_keras.Model(x, tf_keras.layers.Dense(3, name="scores")(y))
    model.compile("adam", "mse")  # one step gives the optimizer its slots
    model.fit(reals(8, 8, 2), reals(3), verbose=0)
    values = {"image": reals(8, 8, 2)}
    source = _saved(model, folder / "unsaved", values, ["scores"])
    model.save(folder / name)
    return Source(folder / name, values, source.outputs)


def keras2_keras(folder: Path) -> Source:
    return _keras2(folder, "m.keras")


def keras2_h5(folder: Path) -> Source:
    return _keras2(folder, "m.h5")


def keras2_saved_model(folder: Path) -> Source:
    return _keras2(folder, "saved")


def _module(folder: Path, length: int | None, **signatures: str) -> Source:
    import tensorflow as tf

    class Plain(tf.Module):
        def __init__(self) -> None:
            self.weight = tf.Variable(reals(5)[:4].T @ np.ones((4, 5), np.float32) / 4 + np.eye(5, dtype=np.float32))

        @tf.function(input_signature=[tf.TensorSpec([None, length, 5], tf.float32, "frames")])
        def double(self, frames: tf.Tensor) -> dict[str, tf.Tensor]:
            return {"doubled": tf.nn.relu(2.0 * tf.einsum("bij,jk->bik", frames, self.weight))}

        @tf.function(input_signature=[tf.TensorSpec([None, length, 5], tf.float32, "frames")])
        def mean(self, frames: tf.Tensor) -> dict[str, tf.Tensor]:
            return {"mean": tf.reduce_mean(tf.matmul(frames, self.weight), axis=1)}

    module = Plain()
    functions = {key: getattr(module, name) for key, name in signatures.items()}
    tf.saved_model.save(module, str(folder / "module"), signatures=functions)
    frames = reals(7, 5)
    produced = next(iter(functions.values()))(frames)
    return Source(folder / "module", {"frames": frames}, {name: value.numpy() for name, value in produced.items()})


def module(folder: Path) -> Source:
    return _module(folder, 7, serving_default="double")


def module_open_length(folder: Path) -> Source:
    source = _module(folder, None, serving_default="double")
    return Source(source.path, source.inputs, source.outputs, {"inputs": {"frames": {"shape": [1, 7, 5]}}})


def module_signatures(folder: Path) -> Source:
    source = _module(folder, 7, average="mean", other="double")
    return Source(source.path, source.inputs, source.outputs, {"signature": "average"})


def keras3_lambda(folder: Path) -> Source:
    import keras

    x = keras.Input((6,), name="x")
    y = keras.layers.Dense(2, name="y")(keras.layers.Lambda(lambda t: t * 2.0, name="twice")(x))
    source = _saved(keras.Model(x, y), folder / "m.keras", {"x": reals(6)}, ["y"])
    return Source(source.path, source.inputs, source.outputs, {"trust": True})


def embedding(folder: Path) -> Source:
    import keras

    ids = keras.Input((5,), dtype="int32", name="ids")
    y = keras.layers.Flatten()(keras.layers.Embedding(20, 4)(ids))
    values = np.random.default_rng(0).integers(0, 20, (N, 5), np.int32)
    return _saved(keras.Model(ids, keras.layers.Dense(3, name="y")(y)), folder / "m.keras", {"ids": values}, ["y"])


def rescaling(folder: Path) -> Source:
    import keras

    x = keras.Input((8, 8, 3), name="image")
    y = keras.layers.Conv2D(4, 3)(keras.layers.Rescaling(1 / 127.5, offset=-1)(x))
    model = keras.Model(x, keras.layers.GlobalMaxPooling2D(name="peak")(y))
    pixels = np.random.default_rng(0).integers(0, 256, (N, 8, 8, 3)).astype(np.float32)
    return _saved(model, folder / "m.keras", {"image": pixels}, ["peak"])


def conv1d(folder: Path) -> Source:
    import keras

    x = keras.Input((16, 3), name="signal")
    y = keras.layers.Conv1D(4, 5, padding="causal", activation="relu")(x)
    y = keras.layers.MaxPooling1D(2)(keras.layers.SeparableConv1D(4, 3)(y))
    model = keras.Model(x, keras.layers.Dense(2, name="y")(keras.layers.Flatten()(y)))
    return _saved(model, folder / "m.keras", {"signal": reals(16, 3)}, ["y"])


def batch_norm_head(folder: Path) -> Source:
    import keras

    x = keras.Input((6,), name="x")
    model = keras.Model(x, keras.layers.BatchNormalization(name="norm")(x))
    model.layers[-1].set_weights([np.array(row, np.float32) for row in np.arange(1, 25).reshape(4, 6) / 6])
    return _saved(model, folder / "m.keras", {"x": reals(6)}, ["norm"])


def sine(folder: Path) -> Source:
    import keras

    x = keras.Input((4,), name="x")
    y = keras.layers.Dense(4)(keras.ops.sin(keras.layers.Dense(4)(x)))
    model = keras.Model(x, keras.layers.Dense(2, name="y")(y))
    return _saved(model, folder / "m.keras", {"x": reals(4)}, ["y"])


def _recurrent(folder: Path, package: str, layer: str, **settings: bool) -> Source:
    import importlib

    keras = importlib.import_module(package)
    x = keras.Input((6, 3), name="steps")
    y = getattr(keras.layers, layer)(4, **settings)(x)
    model = keras.Model(x, keras.layers.Dense(2, name="y")(y))
    return _saved(model, folder / "m.keras", {"steps": reals(6, 3)}, ["y"])


def keras3_unrolled_lstm(folder: Path) -> Source:
    return _recurrent(folder, "keras", "LSTM", unroll=True)


def keras3_lstm(folder: Path) -> Source:
    return _recurrent(folder, "keras", "LSTM")


def keras3_gru(folder: Path) -> Source:
    return _recurrent(folder, "keras", "GRU")


def keras2_lstm(folder: Path) -> Source:
    return _recurrent(folder, "tf_keras", "LSTM")


def keras2_gru(folder: Path) -> Source:
    return _recurrent(folder, "tf_keras", "GRU")


def keras3_mixed_precision(folder: Path) -> Source:
    import keras

    x = keras.Input((8, 8, 1), name="image")
    y = keras.layers.Conv2D(4, 3, activation="relu", dtype="mixed_float16")(x)
    y = keras.layers.GlobalAveragePooling2D(dtype="mixed_float16")(y)
    model = keras.Model(x, keras.layers.Dense(3, name="scores", dtype="mixed_float16")(y))
    source = _saved(model, folder / "m.keras", {"image": reals(8, 8, 1)}, ["scores"])
    return Source(source.path, source.inputs, {"scores": source.outputs["scores"].astype(np.float32)})


def keras3_nested_outputs(folder: Path) -> Source:
    import keras

    x = keras.Input((6,), name="x")
    y = keras.layers.Dense(2)(x)
    model = keras.Model(x, {"a": y, "b": {"c": keras.layers.Dense(3)(x)}})
    model.save(folder / "m.keras")
    values = reals(6)
    produced = model.predict(values, verbose=0)
    return Source(folder / "m.keras", {"x": values}, {"a": produced["a"], "b_c": produced["b"]["c"]})


def keras2_subclassed(folder: Path) -> Source:
    import tf_keras

    class Net(tf_keras.Model):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.dense = tf_keras.layers.Dense(3)

        def call(self, x: Any) -> Any:
            return self.dense(x)

    model = Net()
    model.compile("adam", "mse")
    model.fit(reals(4), reals(3), verbose=0)
    model.save(folder / "saved")
    return Source(folder / "saved", {"input_1": reals(4)}, {"output_1": model.predict(reals(4), verbose=0)})


def keras2_lambda_saved_model(folder: Path) -> Source:
    """Not trusted: its graph is used, not its Python."""
    import tf_keras

    x = tf_keras.Input((6,), name="x")
    y = tf_keras.layers.Lambda(lambda t: t * 2.0, name="twice")(tf_keras.layers.Dense(2)(x))
    model = tf_keras.Model(x, y)
    model.save(folder / "saved")
    return Source(folder / "saved", {"x": reals(6)}, {"twice": model.predict(reals(6), verbose=0)})


def keras3_own_layer(folder: Path) -> Source:
    import keras

    class Mine(keras.layers.Layer):  # type: ignore[misc]
        def call(self, x: Any) -> Any:
            return x + 1.0

    x = keras.Input((6,), name="x")
    return _saved(keras.Model(x, Mine(name="y")(x)), folder / "m.keras", {"x": reals(6)}, ["y"])


def keras3_never_built(folder: Path) -> Source:
    import keras

    keras.Sequential([keras.layers.Dense(3)]).save(folder / "m.keras")
    return Source(folder / "m.keras", {}, {})
