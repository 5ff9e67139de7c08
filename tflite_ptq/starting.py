"""The story of ``init``: look at a model and perhaps a data folder, and write the recipe that fits."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tflite_ptq.checking import runtime
from tflite_ptq.data.listing import EXTENSIONS, Kind, list_files
from tflite_ptq.errors import DataError
from tflite_ptq.model.tflite_source import float_inputs
from tflite_ptq.recipe.found import Samples, planned
from tflite_ptq.recipe.schema import Model
from tflite_ptq.recipe.starter import FoundModel, starter
from tflite_ptq.result import TensorInfo
from tflite_ptq.worker.init_messages import LookAt, Looked, LookedAt
from tflite_ptq.worker.messages import Describe, Described, Opened, OpenSource
from tflite_ptq.worker.process import Worker
from tflite_ptq.worker.scratch import LOG_NAME, scratch_folder

_FORMATS: Mapping[str, Kind] = {suffix: kind for kind, suffixes in EXTENSIONS.items() for suffix in suffixes}
_TRAINED_ON = ("train", "training")
_HELD_OUT = ("val", "valid", "validation", "eval", "evaluation", "test", "testing")
_MOST_LOOKED_AT = 8


@dataclass(frozen=True)
class _Lying:
    """Sample files of one kind at ``path``, a folder or the only file, and where those to evaluate on lie."""

    path: Path
    evaluation: Path
    kind: Kind
    files: Sequence[Path]

    @property
    def few(self) -> tuple[Path, ...]:
        """Those to look into: what a raw file holds, it does not say."""
        return tuple(file.absolute() for file in self.files[:_MOST_LOOKED_AT]) if self.kind != "raw" else ()


def recipe_for(source: Model, data: Path | None, file: Path) -> str:
    """The text of a recipe at ``file`` for the model, with paths relative to it.

    Raises ``ModelError`` or ``DataError`` where the model or the folder cannot be used.
    """
    model = Path(source.path)
    lying = _lying(data) if data is not None else None
    few = lying.few if lying is not None else ()
    with runtime() as child:
        described = child.ask(Describe(model=source), Described, "describe the model")
        looked = child.ask(LookAt(model=source, files=tuple(map(str, few))), LookedAt, "look at the samples")
    inputs = described.inputs if described.inputs is not None else _opened_inputs(source)
    converted = described.kind == "tflite"
    if converted:
        inputs = float_inputs(source, inputs, described.quantized)
    samples = _samples(lying, dict(zip(few, looked.files, strict=True)), inputs, file) if lying is not None else None
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", model.stem).strip("-._") or "model"
    found = FoundModel(_relative(model, file), inputs, source.signature, source.trust, converted, looked.loops)
    return starter(file.name, name, found, planned(inputs, looked.rescales, samples))


def _opened_inputs(model: Model) -> tuple[TensorInfo, ...]:
    """The inputs that only TensorFlow can tell."""
    with scratch_folder() as folder:
        converter = Worker("tflite_ptq.worker.converter", folder / LOG_NAME, timeout_s=600, scratch=folder)
        try:
            request = OpenSource(model=model, folder=str(folder / "saved_model"))
            return converter.ask(request, Opened, "open the model").inputs
        finally:
            converter.kill()


def _lying(data: Path) -> _Lying:
    if not data.exists():
        raise DataError(f"{data}: there is no such file or folder; name the folder that holds the samples")
    calibration, evaluation = _subfolders(data)
    if data.is_dir():
        names, _, others = list_files(calibration, _FORMATS)
        known, left_out = [calibration / name for name in names], others.total()
    else:
        known, left_out = [data] if data.suffix.lower() in _FORMATS else [], 1
    if not known:
        raise DataError(f"{calibration}: no samples found among {left_out} files (looked for {', '.join(_FORMATS)})")
    ((kind, _),) = Counter(_FORMATS[path.suffix.lower()] for path in known).most_common(1)
    if kind == "image" and data.is_file():
        raise DataError(f"{data}: is one image, images are read from a folder; name the folder that holds it")
    return _Lying(calibration, evaluation, kind, [path for path in known if _FORMATS[path.suffix.lower()] == kind])


def _subfolders(data: Path) -> tuple[Path, Path]:
    """The folders to calibrate and to evaluate on: ``train`` and ``val``, say, where there are such in ``data``."""
    by_name = {path.name.lower(): path for path in data.iterdir() if path.is_dir()} if data.is_dir() else {}
    train = next((by_name[name] for name in _TRAINED_ON if name in by_name), None)
    held_out = next((by_name[name] for name in _HELD_OUT if name in by_name), None)
    return (data, data) if train is None or held_out is None else (train, held_out)


def _samples(lying: _Lying, looked: Mapping[Path, Looked], inputs: Sequence[TensorInfo], recipe: Path) -> Samples:
    good = {path: one.arrays for path, one in looked.items() if one.fault is None}
    faults = [one.fault for one in looked.values() if one.fault is not None]
    if faults and not good:
        raise DataError(faults[0])
    path, evaluation, count, arrays = lying.path, lying.evaluation, len(lying.files), tuple(good.values())
    stack = path if path.is_file() else _stacked_in(lying, good, inputs) if path == evaluation else None
    stacked = stack is not None and lying.kind != "raw"
    if stack is not None and stacked:
        path = evaluation = stack
        arrays = (good[stack.absolute()],)
        count = _stacked_count(stack, arrays[0], inputs)
        # An array of another length is not of the samples: with its whole shape it fits no input.
        arrays = ({name: shape[1:] if shape[:1] == (count,) else shape for name, shape in arrays[0].items()},)
    folders, classes = _classes(lying) if lying.kind == "image" else ("none", ())
    return Samples(
        path=_relative(path, recipe),
        evaluation=_relative(evaluation, recipe),
        kind=lying.kind,
        count=count,
        stacked=stacked,
        arrays=arrays,
        folders=folders,
        classes=classes,
        size_bytes=lying.files[0].stat().st_size,
    )


def _classes(lying: _Lying) -> tuple[Literal["each", "none", "some"], tuple[str, ...]]:
    """Whether images lie in folders of their class, and the names of these where one of them is empty."""
    filled = {file.relative_to(lying.path).parts[0] for file in lying.files if file.parent != lying.path}
    if not filled:
        return "none", ()
    if any(file.parent == lying.path for file in lying.files):
        return "some", ()
    there = sorted(one.name for one in lying.path.iterdir() if one.is_dir() and not one.name.startswith("."))
    return "each", tuple(there) if set(there) != filled else ()


def _stacked_in(
    lying: _Lying, good: Mapping[Path, Mapping[str, tuple[int, ...]]], inputs: Sequence[TensorInfo]
) -> Path | None:
    """The one file of a folder that holds many samples, beside their labels, say."""
    if lying.kind not in ("npy", "npz") or len(lying.files) > len(good):
        return None
    stacked = []
    for path, arrays in good.items():
        shapes = [(info.shape, arrays.get("" if lying.kind == "npy" else info.name, ())) for info in inputs]
        if any(len(own) == len(wanted) and own[0] != 1 for wanted, own in shapes):
            stacked.append(path)
    return stacked[0] if len(stacked) == 1 else None


def _stacked_count(file: Path, arrays: Mapping[str, tuple[int, ...]], inputs: Sequence[TensorInfo]) -> int:
    """The length along axis 0 that the arrays of the inputs share."""
    own = [shape for name, shape in arrays.items() if any(info.name == name for info in inputs)]
    lengths = Counter(shape[0] for shape in own or arrays.values() if shape)
    if not lengths:
        raise DataError(f"{file}: holds a single number, expected samples stacked along axis 0; write the file again")
    ((count, _),) = lengths.most_common(1)
    if count == 0:
        raise DataError(f"{file}: holds no samples (length 0 along axis 0); write the file again or name another")
    return count


def _relative(path: Path, file: Path) -> str:
    return Path(os.path.relpath(path.absolute(), file.absolute().parent)).as_posix()
