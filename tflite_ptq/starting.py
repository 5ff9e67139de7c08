"""The story of ``init``: look at a model and perhaps a data folder, and write the recipe that fits."""

from __future__ import annotations

import dataclasses
import math
import os
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from tflite_ptq.checking import runtime
from tflite_ptq.errors import DataError
from tflite_ptq.model.tflite_source import float_inputs
from tflite_ptq.recipe.dataset import Dataset, Evaluation, NpyFormat, NpzFormat
from tflite_ptq.recipe.schema import Model
from tflite_ptq.recipe.starter import FoundData, FoundModel, guessed, starter
from tflite_ptq.result import TensorInfo
from tflite_ptq.worker.init_messages import LookAt, LookedAt
from tflite_ptq.worker.messages import Describe, Described, Opened, OpenSource, Scan, Scanned
from tflite_ptq.worker.process import Worker
from tflite_ptq.worker.scratch import LOG_NAME, scratch_folder

_FORMATS = {
    **dict.fromkeys((".jpg", ".jpeg", ".png", ".bmp", ".webp"), "image"),
    ".npy": "npy",
    ".npz": "npz",
    **dict.fromkeys((".bin", ".raw", ".dat", ".pcm"), "raw"),
}
_SHAPED = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp", ".npy"})
"""What says its shape in its header."""
_MOST_LOOKED_AT = 8
_ITEM_BYTES = {"float32": 4, "int8": 1, "int16": 2, "float64": 8}
"""The likeliest dtype of each item size."""


def recipe_for(source: Model, data: Path | None, file: Path) -> str:
    """The text of a recipe at ``file`` for the model, with paths relative to it.

    Raises ``ModelError`` or ``DataError`` where the model or the folder cannot be used.
    """
    model = Path(source.path)
    files = _sample_files(data) if data is not None else ()
    few = tuple(path.absolute() for path in files if path.suffix.lower() in _SHAPED)[:_MOST_LOOKED_AT]
    with runtime() as child:
        described = child.ask(Describe(model=source), Described, "describe the model")
        looked = child.ask(LookAt(model=source, files=tuple(map(str, few))), LookedAt, "look at the samples")
    inputs = described.inputs if described.inputs is not None else _opened_inputs(source)
    converted = described.kind == "tflite"
    if converted:
        inputs = float_inputs(source, inputs, described.quantized)
    shapes = {path: shape for path, shape in zip(few, looked.shapes, strict=True) if shape is not None}
    found: FoundData | None = None
    sample: tuple[int, ...] | None = None
    if data is not None:
        if data.is_dir() and len(inputs) == 1 and len(files) == len(shapes):
            data = _stacked_in(shapes, len(inputs[0].shape)) or data
        sample = _sample_shape(shapes, data, inputs[0].shape) if len(inputs) == 1 else None
        found = _look_at(data, files, guessed(inputs[0].shape, sample)[1:] if inputs else (), looked.rescales, file)
        if data.is_file():
            found = _stacked(found, data)
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", model.stem).strip("-._") or "model"
    found_model = FoundModel(_relative(model, file), inputs, source.signature, source.trust, converted, sample)
    return starter(file.name, name, found_model, found)


def _opened_inputs(model: Model) -> tuple[TensorInfo, ...]:
    """The inputs that only TensorFlow can tell."""
    with scratch_folder() as folder:
        converter = Worker("tflite_ptq.worker.converter", folder / LOG_NAME, timeout_s=600, scratch=folder)
        try:
            request = OpenSource(model=model, folder=str(folder / "saved_model"))
            return converter.ask(request, Opened, "open the model").inputs
        finally:
            converter.kill()


def _sample_files(data: Path) -> Sequence[Path]:
    if not data.exists():
        raise DataError(f"{data}: there is no such file or folder; name the folder that holds the samples")
    files = [data] if data.is_file() else list(_walk(data))
    known = [path for path in files if path.suffix.lower() in _FORMATS]
    if not known:
        raise DataError(f"{data}: no samples found among {len(files)} files (looked for {', '.join(_FORMATS)})")
    return known


def _stacked_in(shapes: Mapping[Path, tuple[int, ...]], rank: int) -> Path | None:
    """The one file of a folder that holds many samples, beside their labels, say."""
    stacked = [path for path, shape in shapes.items() if path.suffix == ".npy" and len(shape) == rank and shape[0] != 1]
    return stacked[0] if len(stacked) == 1 else None


def _sample_shape(shapes: Mapping[Path, tuple[int, ...]], data: Path, wanted: Sequence[int]) -> tuple[int, ...] | None:
    """Without a batch; ``None`` where the files tell nothing of an input of shape ``wanted`` (batch included, -1 for
    open dimensions), or differ among each other."""
    own = {shape for path, shape in shapes.items() if data.is_dir() or path == data.absolute()}
    if len(own) != 1:
        return None
    (shape,) = own
    if next(iter(shapes)).suffix.lower() != ".npy":
        return (*shape, wanted[-1]) if len(wanted) == 4 and wanted[-1] in (1, 3) else None
    shape = shape[1:] if len(shape) == len(wanted) else shape
    return shape if len(shape) == len(wanted) - 1 else None


def _look_at(data: Path, files: Sequence[Path], shape: Sequence[int], rescales: bool | None, recipe: Path) -> FoundData:
    kinds = Counter(_FORMATS[path.suffix.lower()] for path in files)
    kind, count = kinds.most_common(1)[0]
    classes = kind == "image" and data.is_dir() and any(path.parent != data for path in files)
    text = f"{{type: {kind}}}"
    steps: tuple[str, ...] = ()
    if kind == "image":
        steps = _image_steps(shape, rescales)
    elif kind == "raw":
        first = next(path for path in files if _FORMATS.get(path.suffix.lower()) == "raw")
        text = _raw_format(first, shape)
    return FoundData(
        path=_relative(data, recipe),
        found=f"{count} {kind} files" + (", one folder a class" if classes else ""),
        format=text,
        preprocess=steps,
        samples=min(100, max(1, count // 2)),
        all_used=count == 1,
        select="stratified" if classes else "random",
    )


def _stacked(found: FoundData, data: Path) -> FoundData:
    """What is known of one file once its samples are counted."""
    form: NpyFormat | NpzFormat
    if data.suffix.lower() == ".npy":
        form = NpyFormat(type="npy")
    elif data.suffix.lower() == ".npz":
        form = NpzFormat(type="npz")
    else:
        return dataclasses.replace(found, samples=1, all_used=True)
    with runtime() as child:
        dataset = Dataset(format=form, evaluation=Evaluation(path=str(data.absolute())))
        count = child.ask(Scan(dataset=dataset), Scanned, "count the samples").evaluation_samples
    return dataclasses.replace(
        found, found=f"{count} samples in one file", samples=min(100, max(1, count // 2)), all_used=count == 1
    )


def _image_steps(shape: Sequence[int], rescales: bool | None) -> tuple[str, ...]:
    steps = []
    if len(shape) == 3:
        steps.append(f"resize: {{size: [{shape[0]}, {shape[1]}], mode: stretch, interpolation: bilinear}}")
        if shape[2] == 1:
            steps.append("color: gray")
    steps.append(
        "normalize: raw       # the model scales its inputs itself"
        if rescales
        else 'normalize: "0..1"    # as in training: raw, 0..1, -1..1, torch, caffe or {mean: ..., std: ...}'
    )
    return tuple(steps)


def _raw_format(file: Path, shape: Sequence[int]) -> str:
    size, values = file.stat().st_size, math.prod(shape)
    dtype = next((name for name, item in _ITEM_BYTES.items() if values * item == size), None)
    if dtype is None:
        raise DataError(
            f"{file}: {size} bytes are no sample of shape {list(shape)} in any dtype; write the format by hand: "
            "{type: raw, dtype: ..., shape: [...], stride: ...}"
        )
    return f"{{type: raw, dtype: {dtype}, shape: [{', '.join(map(str, shape))}]}}"


def _walk(folder: Path) -> Iterator[Path]:
    for root, folders, names in os.walk(folder):
        folders.sort()
        yield from (Path(root) / name for name in sorted(names) if not name.startswith("."))


def _relative(path: Path, file: Path) -> str:
    return Path(os.path.relpath(path.absolute(), file.absolute().parent)).as_posix()
