"""Input specs of a source model without TensorFlow, for ``check`` and the like.

``.keras`` and SavedModel are read with the standard library alone; ``.h5`` imports h5py and ``.tflite`` the
flatbuffer schema, and with them numpy.
"""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

from tflite_ptq.errors import ModelError
from tflite_ptq.model.description import ModelDescription
from tflite_ptq.model.filetype import Kind, kind
from tflite_ptq.model.keras_config import inputs_of, refuse_code
from tflite_ptq.model.plain_names import plain_names
from tflite_ptq.model.saved_model_proto import signatures
from tflite_ptq.result import TensorInfo

__all__ = ["Kind", "keras_config", "kind", "read_inputs", "refuse_other_signature"]

_DEFAULT_SIGNATURE = "serving_default"


def read_inputs(path: Path, signature: str | None, *, trust: bool = False) -> tuple[TensorInfo, ...] | None:
    """Inputs of the model at ``path``; ``None`` where only TensorFlow can tell (subclassed models, no signature).

    ``signature`` picks a SavedModel's signature; ``None``: ``serving_default``, or the only one. Of a ``.tflite`` the
    main graph's is the only one to pick.
    Shapes include the batch dimension; -1 is a dimension left open. Raises ``ModelError`` for a missing, foreign or
    broken model, for a signature that it does not have, and without ``trust`` for a Keras file that holds code.
    """
    what = kind(path)
    if what == "tflite":
        return _tflite(path, signature)
    if what == "saved_model":
        return _renamed(_saved_model(path, signature))
    if signature is not None:
        raise ModelError(f"{path}: model.signature is '{signature}', but Keras files have no signatures; leave it out")
    config = _config(path, what)
    if not trust:
        refuse_code(path, config)
    return _renamed(inputs_of(config))


def keras_config(path: Path) -> object | None:
    """The configuration of a Keras model, for ``model.keras_config``; ``None`` for another kind. Raises
    ``ModelError``."""
    what = kind(path)
    return _config(path, what) if what in ("keras", "h5") else None


def _config(path: Path, what: Kind) -> object:
    text = _keras(path) if what == "keras" else _h5(path)
    try:
        config: object = json.loads(text)
    except ValueError as error:
        raise ModelError(f"{path}: its model configuration is not JSON ({error}); save the model again") from None
    return config


def _renamed(inputs: tuple[TensorInfo, ...] | None) -> tuple[TensorInfo, ...] | None:
    """As the exported model and the files made of it name them."""
    if inputs is None:
        return None
    names = plain_names([info.name for info in inputs])
    return tuple(info.model_copy(update={"name": name}) for info, name in zip(inputs, names, strict=True))


def _saved_model(path: Path, signature: str | None) -> tuple[TensorInfo, ...] | None:
    file = path / "saved_model.pb"
    try:
        found = signatures(file.read_bytes())
    except OSError as error:
        raise ModelError(f"{file}: cannot be read ({error.strerror or error}); check its permissions") from None
    except ValueError as error:
        raise ModelError(f"{file}: is damaged or no SavedModel ({error}); export or copy it again") from None
    key = _choose(path, list(found), signature)
    return None if key is None else found[key]


def _tflite(path: Path, signature: str | None) -> tuple[TensorInfo, ...]:
    from tflite_ptq.model.flatbuffer import describe

    description = describe(path)
    refuse_other_signature(description, signature)
    return description.inputs


def refuse_other_signature(file: ModelDescription, wanted: str | None) -> None:
    """Raises ``ModelError`` where the recipe's ``model.signature`` is not that of the graph of a ``.tflite`` which is
    run."""
    main = file.main_signature
    if wanted is None or (main is not None and wanted == main.key):
        return
    _refuse_unknown(file.path, [signature.key for signature in file.signatures], wanted)
    raise ModelError(
        f"{file.path}: model.signature: of a .tflite only the main graph is taken, which '{wanted}' does not run (its "
        f"signature: {'none' if main is None else main.key}); name the SavedModel that the file was made from"
    )


def _refuse_unknown(path: Path, keys: list[str], wanted: str) -> None:
    if wanted not in keys:
        listed = ", ".join(keys) or "none"
        raise ModelError(f"{path}: has no signature '{wanted}' (it has: {listed}); correct model.signature")


def _choose(path: Path, keys: list[str], wanted: str | None) -> str | None:
    if wanted is not None:
        _refuse_unknown(path, keys, wanted)
        return wanted
    if _DEFAULT_SIGNATURE in keys:
        return _DEFAULT_SIGNATURE
    if len(keys) > 1:
        raise ModelError(
            f"{path}: has several signatures ({', '.join(keys)}); choose one with model.signature (with init: "
            "--signature)"
        )
    return keys[0] if keys else None


def _keras(path: Path) -> bytes:
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.read("config.json")
    except (zipfile.BadZipFile, OSError, EOFError, ValueError, NotImplementedError) as error:
        raise ModelError(f"{path}: is a damaged .keras archive ({error}); save or copy it again") from None


def _h5(path: Path) -> str | bytes:
    import h5py

    try:
        with h5py.File(path, "r") as file:
            text: str | bytes | None = file.attrs.get("model_config")
    except (OSError, KeyError, RuntimeError) as error:
        raise ModelError(f"{path}: is a damaged or truncated HDF5 file ({error}); save or copy it again") from None
    if text is None:
        raise ModelError(
            f"{path}: holds weights without a model (no model_config); build the model, load_weights, and save it whole"
        )
    return text
