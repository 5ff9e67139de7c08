"""What a model file is, by its content first and its name second; opens nothing but the first bytes."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Literal

from tflite_ptq.errors import ModelError

Kind = Literal["keras", "h5", "saved_model", "tflite"]

TFLITE_IDENTIFIER = b"TFL3"
"""At bytes 4 to 8 of every TensorFlow Lite flatbuffer (schema.fbs: ``file_identifier``)."""

_SUPPORTED = ".keras, .h5, a SavedModel folder or .tflite"
_MAGICS: tuple[tuple[bytes, str], ...] = (
    (b"\x89HDF\r\n\x1a\n", "an HDF5 file"),
    (b"PK\x03\x04", "a zip archive"),
    (b"PK\x05\x06", "an empty zip archive"),
    (b"\x89PNG", "a PNG image"),
    (b"\xff\xd8\xff", "a JPEG image"),
    (b"GIF8", "a GIF image"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"BZh", "a bzip2 archive"),
    (b"\xfd7zXZ", "an xz archive"),
    (b"7z\xbc\xaf", "a 7z archive"),
    (b"GGUF", "a GGUF file"),
    (b"\x93NUMPY", "a NumPy .npy array"),
    (b"%PDF", "a PDF document"),
    (b"version https://git-lfs", "a Git LFS pointer (run `git lfs pull` to fetch the model itself)"),
    (b"<!DOCTYPE", "an HTML page"),
    (b"<html", "an HTML page"),
    (b"\x80\x02", "a Python pickle"),
    (b"\x80\x03", "a Python pickle"),
    (b"\x80\x04", "a Python pickle"),
    (b"\x80\x05", "a Python pickle"),
)
_ELSEWHERE: dict[str, str] = {
    ".onnx": "an ONNX model; convert it to a SavedModel first (onnx2tf -i model.onnx -o folder)",
    ".pt": "a PyTorch model; export it to .tflite (litert-torch) or to ONNX and a SavedModel (onnx2tf) first",
    ".pth": "a PyTorch model; export it to .tflite (litert-torch) or to ONNX and a SavedModel (onnx2tf) first",
    ".safetensors": "weights without a model; build the Keras model, load them, and save it as .keras",
    ".pkl": "a Python pickle; save the model from Python with model.save('model.keras')",
    ".pbtxt": "a text graph; export a SavedModel folder",
    ".ckpt": "a checkpoint (weights only); build the model, load it, and save it as .keras",
    ".mlmodel": "a Core ML model; start from the TensorFlow or Keras model it was made from",
}


def content(path: Path) -> str:
    """What the first bytes of the file ``path`` say it is, in words: ``an HDF5 file``, ``an empty file``, ...

    Raises ``ModelError`` where it cannot be read.
    """
    head = _head(path)
    if not head:
        return "an empty file"
    if head[4:8] == TFLITE_IDENTIFIER:
        return "a TensorFlow Lite model"
    for magic, words in _MAGICS:
        if head.startswith(magic):
            return words
    if path.suffix.lower() == ".onnx":
        return "an ONNX model"
    if all(32 <= byte < 127 or byte in b"\t\r\n" for byte in head):
        return "a text file"
    return f"a file of unknown kind (first bytes {head[:8].hex(' ')})"


def kind(path: Path) -> Kind:
    """Which kind of source model ``path`` is.

    Raises ``ModelError`` for a missing, empty or foreign file, saying what it is and how to get to a supported one.
    """
    if not path.exists():
        raise ModelError(f"{path}: no such file or folder; give a trained model ({_SUPPORTED})")
    if path.is_dir():
        return _folder(path)
    head = _head(path)
    if head[4:8] == TFLITE_IDENTIFIER:
        return "tflite"
    if head.startswith(b"\x89HDF\r\n\x1a\n"):
        return "h5"
    if head.startswith(b"PK\x03\x04"):
        return _archive(path)
    if path.name == "saved_model.pb":
        raise ModelError(f"{path}: give the SavedModel's folder, not the file inside it: {path.parent}")
    suffix = path.suffix.lower()
    if suffix in _ELSEWHERE:
        raise ModelError(f"{path}: is {_ELSEWHERE[suffix]}")
    if suffix == ".pb":
        raise ModelError(f"{path}: is a frozen graph or a lone protobuf; export a SavedModel folder instead")
    what = "is damaged or was not saved as one: it is" if suffix in (".keras", ".h5", ".hdf5", ".tflite") else "is"
    raise ModelError(f"{path}: {what} {content(path)}; a model is {_SUPPORTED}")


def _head(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(64)
    except OSError as error:
        raise ModelError(f"{path}: cannot be read ({error.strerror or error}); check path and permissions") from None


def _folder(path: Path) -> Kind:
    if (path / "saved_model.pb").is_file():
        return "saved_model"
    if (path / "saved_model.pbtxt").is_file():
        raise ModelError(f"{path}: holds saved_model.pbtxt (text); save it again in binary form (saved_model.pb)")
    if (path / "config.json").is_file() and (path / "metadata.json").is_file():
        raise ModelError(f"{path}: is an unpacked .keras archive; zip its files again, without a folder, as .keras")
    models = sorted(child.name for child in path.iterdir() if child.suffix in (".keras", ".h5", ".tflite"))
    inside = f"; it holds {', '.join(models[:5])}: give one of them" if models else f"; a model is {_SUPPORTED}"
    raise ModelError(f"{path}: is a folder without saved_model.pb, so no SavedModel{inside}")


def _archive(path: Path) -> Kind:
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, OSError, ValueError) as error:
        raise ModelError(f"{path}: is a damaged or truncated zip archive ({error}); save or copy it again") from None
    if "config.json" in names:
        return "keras"
    if any(name.endswith("/data.pkl") for name in names):
        raise ModelError(f"{path}: is {_ELSEWHERE['.pt']}")
    if any(name.endswith("saved_model.pb") for name in names):
        raise ModelError(f"{path}: is a zipped SavedModel; unpack it and give the folder")
    if names and all(name.endswith(".npy") for name in names):
        raise ModelError(f"{path}: is a NumPy .npz archive of arrays; a model is {_SUPPORTED}")
    raise ModelError(f"{path}: is a zip archive without config.json, so no .keras model; a model is {_SUPPORTED}")
