"""Keras 2 and Keras 3 files: which of the two wrote it, whether it holds code, and loading it with the right one.

Keras 3 refuses much of what Keras 2 wrote (DepthwiseConv2D's ``groups``, optimizer slots of SavedModels), so files of
Keras 2 go through tf-keras, without the user having to know.
"""

from __future__ import annotations

import importlib
import json
import os
import re
import shutil
import tempfile
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol, cast

import h5py
import tensorflow as tf

from tflite_ptq.errors import ModelError
from tflite_ptq.model.keras_config import refuse_code
from tflite_ptq.model.mixed_precision import in_float32

_LAMBDA = re.compile(rb'"class_name"\s*:\s*"Lambda"')
_UNKNOWN = re.compile(r"Could not locate class '([^']+)'|Unknown layer: '?([^'. ]+)")


class KerasTensor(Protocol):
    """A symbolic input; ``shape[0]`` is the batch."""

    name: str
    shape: tuple[int | None, ...]
    dtype: str


class Loaded(Protocol):
    """What is used of a Keras model; ``variables`` are ``tf.Variable``."""

    inputs: Sequence[KerasTensor]
    output_names: Sequence[str]
    variables: Sequence[tf.Variable]

    def call(self, tensors: Sequence[tf.Tensor]) -> object:
        """The forward pass in inference mode; ``tensors`` in the order of ``inputs``."""


class _Model:
    """A Keras model of either version behind one face."""

    def __init__(self, model: tf.Module) -> None:
        self.inputs: Sequence[KerasTensor] = _inputs(model)
        self.output_names: Sequence[str] = list(getattr(model, "output_names", None) or _last_layer(model))
        # A Keras 3 variable wraps the tf.Variable that a SavedModel must track; a Keras 2 one is it.
        self.variables: Sequence[tf.Variable] = [
            v if isinstance(v, tf.Variable) or not hasattr(v, "value") else v.value for v in model.variables
        ]
        self._model = model

    def call(self, tensors: Sequence[tf.Tensor]) -> object:
        return self._model(self._arranged(tensors), training=False)

    def _arranged(self, tensors: Sequence[tf.Tensor]) -> object:
        """The tensors as the model was built to take them: alone, listed, or by the keys of a mapping."""
        try:
            structure = self._model.input
        except (AttributeError, ValueError, RuntimeError):  # a Sequential or subclassed model of Keras 3 has none
            return tensors[0] if len(tensors) == 1 else list(tensors)
        places = {id(symbol): tensor for symbol, tensor in zip(self.inputs, tensors, strict=True)}
        return tf.nest.map_structure(lambda symbol: places[id(symbol)], structure)


def _inputs(model: tf.Module) -> list[KerasTensor]:
    try:
        return list(model.inputs or ())
    except (AttributeError, ValueError):  # Keras 3, of a model that was never called
        return []


def _last_layer(model: tf.Module) -> list[str]:
    """A Keras 3 Sequential does not name its output; every other model calls it after the layer it comes from."""
    return [model.layers[-1].name] if type(model).__name__ == "Sequential" else []


def is_keras2_saved_model(folder: Path, *, trust: bool) -> bool:
    """Whether tf-keras saved this SavedModel (its object graph names Keras 2 classes) and may open it: Lambda layers
    would run as the file's Python, where its graph holds them traced."""
    graph = (folder / "saved_model.pb").read_bytes()
    metadata = folder / "keras_metadata.pb"
    if not trust and _LAMBDA.search(metadata.read_bytes() if metadata.is_file() else graph):
        return False
    return any(mark in graph for mark in (b"_tf_keras_network", b"_tf_keras_sequential", b"_tf_keras_model"))


def load(path: Path, *, trust: bool) -> Loaded:
    """Loads a ``.keras`` or ``.h5`` file or a Keras 2 SavedModel folder, not compiled.

    Raises ``ModelError`` for a broken file, for classes that are not Keras' own, and for code (Lambda layers) in the
    file unless ``trust``.
    """
    config, version = _config(path)
    if not trust:
        refuse_code(path, config)
    os.environ["KERAS_BACKEND"] = "tensorflow"  # read by Keras 3 once, at its import; the user's may be another
    names = ("tf_keras", "keras") if version.startswith("2") else ("keras", "tf_keras")
    failures: list[str] = []
    for name in names if not version else names[:1]:
        try:
            module = importlib.import_module(name)
            load_model = cast("Callable[..., tf.Module]", module.models.load_model)
            options: dict[str, bool] = {} if path.is_dir() else {"safe_mode": not trust}
            with _named_as_keras_wants(path) as file:
                return _Model(in_float32(load_model(str(file), compile=False, **options)))
        except (OSError, zipfile.BadZipFile) as error:
            raise _damaged(path, error) from error
        except Exception as error:  # a model file runs Keras' whole deserializer: any kind can come out
            failures.append(f"{name}: {_reason(error)}")
    raise ModelError(
        f"{path}: cannot be loaded ({'; '.join(failures)}); if it has layers of your own, export it as a SavedModel "
        "(model.export(folder)) and name that folder as model.path"
    )


@contextmanager
def _named_as_keras_wants(path: Path) -> Iterator[Path]:
    """Keras tells its formats apart by suffix; a file's content says as much, whatever it is called."""
    suffix = path.suffix if path.is_dir() else ".keras" if zipfile.is_zipfile(path) else ".h5"
    if path.suffix == suffix:
        yield path
        return
    with tempfile.TemporaryDirectory() as folder:
        link = Path(folder) / f"model{suffix}"
        try:
            link.symlink_to(path.absolute())
        except OSError:
            shutil.copyfile(path, link)
        yield link


def _config(path: Path) -> tuple[object, str]:
    """The file's layer configuration and the version of Keras that wrote it ('' where it does not say)."""
    if path.is_dir():
        return None, "2"
    try:
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                metadata = json.loads(archive.read("metadata.json"))
                return json.loads(archive.read("config.json")), str(metadata.get("keras_version", ""))
        with h5py.File(path) as file:
            config, version = file.attrs.get("model_config"), file.attrs.get("keras_version", "")
    except (OSError, KeyError, ValueError, zipfile.BadZipFile) as error:
        raise _damaged(path, error) from error
    if config is None:
        raise ModelError(
            f"{path}: holds weights without an architecture (saved with save_weights); save the whole model with "
            "model.save('model.keras')"
        )
    return json.loads(config), version.decode() if isinstance(version, bytes) else str(version)


def _damaged(path: Path, error: Exception) -> ModelError:
    return ModelError(f"{path}: the model is damaged or cut short ({_reason(error)}); save or copy it again")


def _reason(error: BaseException) -> str:
    unknown = _UNKNOWN.search(str(error))
    if unknown:
        return f"Keras has no layer '{unknown.group(1) or unknown.group(2)}'"
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0][:300] if lines else type(error).__name__
