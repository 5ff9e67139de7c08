"""The door to the source model: opened once with TensorFlow or Keras, exported once as a SavedModel with fixed shapes.

Everything that can be converted ends up as the same thing: a SavedModel on disk with one signature whose inputs and
outputs have plain names and known shapes. Conversions then start from the disk, so that a converter that crashed can
be replaced without opening the source again. Exporting through a bare ``tf.Module`` skips Keras' own, slower export.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, TypeAlias

import tensorflow as tf

from tflite_ptq.errors import DiskFullError, ModelError
from tflite_ptq.model import keras_file
from tflite_ptq.model.input_shapes import fixed_shape, refuse_unknown_inputs
from tflite_ptq.model.plain_names import plain_names
from tflite_ptq.model.python_error import cause_of
from tflite_ptq.model.signature import kind
from tflite_ptq.recipe.schema import Model
from tflite_ptq.result import TensorInfo

SIGNATURE = "serving_default"
Tensors: TypeAlias = "tf.Tensor | Sequence[tf.Tensor] | Mapping[str, tf.Tensor]"


class Exported(NamedTuple):
    """The exported SavedModel's inputs and outputs; shapes include the batch dimension, which is 1."""

    inputs: tuple[TensorInfo, ...]
    outputs: tuple[TensorInfo, ...]


class _Callable(NamedTuple):
    """A model as a plain function: open input specs, their names, what to call and what must stay alive."""

    names: tuple[str, ...]
    specs: tuple[tf.TensorSpec, ...]
    call: Callable[[Sequence[tf.Tensor]], Mapping[str, tf.Tensor]]
    variables: tuple[object, ...]


def export(model: Model, folder: Path) -> Exported:
    """Opens the source model of the recipe and saves it below ``folder`` for the converter.

    Raises ``ModelError`` when it is missing, foreign, broken or holds code that is not trusted, and when a dimension
    other than the batch is unknown and the recipe does not fix it.
    """
    path = Path(model.path)
    form = kind(path)
    if form == "tflite":
        raise ModelError(f"{path}: a .tflite file is already converted; it is read as it stands")
    # Of a Keras 2 model the optimizer's slots may be such that only tf-keras can restore them.
    by_graph = form == "saved_model" and (
        model.signature is not None or not keras_file.is_keras2_saved_model(path, trust=model.trust)
    )
    return _save(_open_saved_model(path, model.signature) if by_graph else _open_keras(path, model), model, folder)


def _open_keras(path: Path, model: Model) -> _Callable:
    loaded = keras_file.load(path, trust=model.trust)
    if not loaded.inputs and path.is_dir():  # a subclassed model: only its signature knows the inputs
        return _open_saved_model(path, None)
    if not loaded.inputs:
        raise ModelError(
            f"{path}: the model was saved without an input shape, so it cannot be traced; call it once on data (or add "
            "an Input layer) before saving"
        )
    names = tuple(tensor.name for tensor in loaded.inputs)
    specs = tuple(tf.TensorSpec(tensor.shape, tensor.dtype) for tensor in loaded.inputs)
    output_names = tuple(str(name) for name in loaded.output_names)

    def call(tensors: Sequence[tf.Tensor]) -> Mapping[str, tf.Tensor]:
        produced: Tensors = loaded.call(tensors)
        return _by_name(produced, output_names)

    return _Callable(names, specs, call, tuple(loaded.variables))


def _by_name(produced: Tensors, names: Sequence[str]) -> Mapping[str, tf.Tensor]:
    if isinstance(produced, Mapping):
        return dict(_flat(produced))
    tensors = list(tf.nest.flatten(produced))
    if len(names) != len(tensors) or len(set(names)) != len(names):
        names = [f"output_{index}" for index in range(len(tensors))]
    return dict(zip(names, tensors, strict=True))


def _flat(produced: Mapping[str, Tensors]) -> Iterator[tuple[str, tf.Tensor]]:
    """Tensors by key, those of nested structures by ``outer_inner``."""
    for key, value in produced.items():
        if isinstance(value, (Mapping, list, tuple)):
            inner = value if isinstance(value, Mapping) else dict(zip(map(str, range(len(value))), value, strict=True))
            yield from ((f"{key}_{name}", tensor) for name, tensor in _flat(inner))
        else:
            yield str(key), value


def _open_saved_model(path: Path, signature: str | None) -> _Callable:
    try:
        loaded = tf.saved_model.load(str(path))
    except Exception as error:  # TensorFlow raises nearly every kind for a damaged folder
        raise ModelError(
            f"{path}: TensorFlow cannot load this SavedModel: {cause_of(error)}; export or copy it again"
        ) from error
    signatures = dict(loaded.signatures)
    name = _choose_signature(path, sorted(signatures), signature)
    function = signatures[name]
    specs: dict[str, tf.TensorSpec] = function.structured_input_signature[1]
    names = tuple(specs)

    def call(tensors: Sequence[tf.Tensor]) -> Mapping[str, tf.Tensor]:
        produced: Mapping[str, tf.Tensor] = function(**dict(zip(names, tensors, strict=True)))
        return produced

    return _Callable(names, tuple(specs.values()), call, (loaded,))


def _choose_signature(path: Path, known: Sequence[str], wanted: str | None) -> str:
    listed = ", ".join(known) or "none"
    if wanted is not None:
        if wanted in known:
            return wanted
        raise ModelError(f"{path}: model.signature: there is no signature '{wanted}' in this SavedModel ({listed})")
    if SIGNATURE in known:
        return SIGNATURE
    if len(known) == 1:
        return known[0]
    if known:
        raise ModelError(f"{path}: which signature? set model.signature in the recipe ({listed})")
    raise ModelError(
        f"{path}: this SavedModel has no signature; save it with tf.saved_model.save(module, folder, "
        "signatures={'serving_default': module.function.get_concrete_function(...)})"
    )


def _save(opened: _Callable, model: Model, folder: Path) -> Exported:
    names = plain_names(opened.names)
    specs = [
        tf.TensorSpec(fixed_shape(model, name, _sizes(spec), original), spec.dtype, name=name)
        for spec, original, name in zip(opened.specs, opened.names, names, strict=True)
    ]
    refuse_unknown_inputs(model, opened.names)

    module = tf.Module()
    module.kept = list(opened.variables)
    try:
        # AutoGraph rewrites Python's ifs and loops on tensors; a third of the time for what few models have.
        try:
            module.serve = _serving(opened, specs, autograph=False)
            concrete = module.serve.get_concrete_function()
        except Exception:
            module.serve = _serving(opened, specs, autograph=True)
            concrete = module.serve.get_concrete_function()
    except Exception as error:  # a model's own Python runs here, so any kind can be raised
        raise ModelError(
            f"{model.path}: the model cannot be traced with inputs "
            f"{', '.join(f'{spec.name} {tuple(spec.shape)}' for spec in specs)}: {cause_of(error)}"
        ) from error
    try:
        tf.saved_model.save(module, str(folder), signatures={SIGNATURE: concrete})
    except (OSError, tf.errors.OpError) as error:
        raise DiskFullError(
            f"{folder}: the model cannot be written to the temporary folder: {cause_of(error)}; free some space "
            "there, or set TMPDIR to a folder with more"
        ) from error
    return Exported(
        tuple(TensorInfo(name=s.name, shape=tuple(s.shape), dtype=s.dtype.name) for s in specs),
        tuple(_info(name, tensor) for name, tensor in sorted(concrete.structured_outputs.items())),
    )


def _serving(opened: _Callable, specs: Sequence[tf.TensorSpec], *, autograph: bool) -> tf.types.experimental.Callable:
    @tf.function(input_signature=specs, autograph=autograph)  # type: ignore[untyped-decorator]
    def serve(*tensors: tf.Tensor) -> dict[str, tf.Tensor]:
        produced = opened.call(tensors)
        plain = plain_names(tuple(produced))
        return {name: tf.identity(tensor) for name, tensor in zip(plain, produced.values(), strict=True)}

    return serve


def _info(name: str, tensor: tf.TensorSpec) -> TensorInfo:
    return TensorInfo(name=name, shape=_sizes(tensor) or (), dtype=tensor.dtype.name)


def _sizes(spec: tf.TensorSpec) -> tuple[int, ...] | None:
    return None if spec.shape.rank is None else tuple(-1 if size is None else size for size in spec.shape.as_list())
