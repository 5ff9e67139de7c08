"""From the samples that ``init`` saw to the recipe's ``dataset``, or to what the user has to do first (pure)."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from tflite_ptq.recipe.guesses import Shape, bare, channel_axis, fits, guessed, matched, written
from tflite_ptq.result import TensorInfo

_ITEM_BYTES = {"float32": 4, "int8": 1, "int16": 2, "float64": 8}
"""The likeliest dtype of each item size."""
_MOST_CALIBRATED_ON = 100
_PIXELS = frozenset({"float32", "float16", "float64", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64"})
"""What holds 0..255."""


@dataclass(frozen=True)
class Samples:
    """What lies in a folder or file. ``count``: files, or samples where ``stacked`` in one. ``arrays``: of each of the
    few that were looked at the shapes by name, without batch; of images and ``.npy`` the name is ``""``, of an image
    the shape is ``(H, W)``. ``folders``: of images, whether each lies in a folder of its class, none does, or some do;
    ``classes`` names these folders where an empty one would not be counted else. ``size_bytes`` of the first file."""

    path: str
    evaluation: str
    kind: Literal["image", "npy", "npz", "raw"]
    count: int
    stacked: bool = False
    arrays: tuple[Mapping[str, Shape], ...] = ()
    folders: Literal["each", "none", "some"] = "none"
    classes: tuple[str, ...] = ()
    size_bytes: int = 0


@dataclass(frozen=True)
class FoundData:
    """A ``dataset`` for the recipe. ``format`` and ``preprocess`` are written into it as YAML."""

    path: str
    evaluation: str
    found: str
    format: str
    preprocess: tuple[str, ...]
    samples: int
    select: str
    labels: str | None
    classes: str | None
    all_used: bool
    """Calibration takes the only sample there is."""
    to_check: str | None = None
    """What of it is a guess."""


@dataclass(frozen=True)
class Wanted:
    """No ``dataset`` yet. ``why``, where the samples that there are cannot be used; ``how`` to store those that can be:
    a sentence and lines of Python; ``format`` and ``preprocess`` of these, as YAML; ``samples`` to calibrate on."""

    why: str | None
    how: tuple[str, ...]
    format: str
    preprocess: tuple[str, ...] = ()
    samples: int = _MOST_CALIBRATED_ON


@dataclass(frozen=True)
class Plan:
    """The dataset, and the shapes of inputs that leave dimensions open: ``certain`` where the samples tell them."""

    dataset: FoundData | Wanted
    shapes: Mapping[str, Shape]
    certain: bool


@dataclass(frozen=True)
class _Read:
    """How samples are read: shapes of what each input gets of them, a format, and what speaks against it."""

    shapes: Mapping[str, tuple[Shape, ...]] = field(default_factory=dict)
    format: str = ""
    against: str | None = None
    to_check: str | None = None


def planned(inputs: Sequence[TensorInfo], rescales: bool | None, samples: Samples | None) -> Plan:
    """The dataset for a model whose ``inputs`` have -1 for open dimensions; ``rescales``: it scales them itself."""
    read = _read(inputs, samples) if samples is not None else _Read()
    shapes = {info.name: guessed(info.shape, read.shapes.get(info.name, ())) for info in inputs}
    told = all(
        any(fits(one, info.shape) for one in read.shapes.get(info.name, ())) for info in inputs if -1 in info.shape[1:]
    )
    opened = {info.name: shapes[info.name] for info in inputs if -1 in info.shape[1:]}
    against = read.against
    if samples is not None and samples.kind != "image":
        against = against or _misfit(inputs, shapes, read.shapes)
    fixed = [info.model_copy(update={"shape": shapes[info.name]}) for info in inputs]
    if samples is None or against is not None:
        wanted = _wanted(fixed, rescales, against, raw=samples is not None and samples.kind == "raw")
        count = _share(samples) if samples is not None else wanted.samples
        return Plan(replace(wanted, samples=count), opened, told and against is None)
    steps = image_steps(fixed[0], rescales) if samples.kind == "image" else ()
    return Plan(_found(samples, read, steps), opened, told)


def image_steps(info: TensorInfo, rescales: bool | None) -> tuple[str, ...]:
    """The preprocessing of images for an input ``(1, H, W, C)``."""
    _, height, width, channels = info.shape
    steps = [f"resize: {{size: [{height}, {width}], mode: stretch, interpolation: bilinear}}"]
    if channels == 1:
        steps.append("color: gray")
    if "float" not in info.dtype:
        steps.append(f"normalize: raw       # the model takes {info.dtype}: pixels as they are")
    elif rescales:
        steps.append("normalize: raw       # the model scales its inputs itself")
    else:
        steps.append('normalize: "0..1"    # as in training: raw, 0..1, -1..1, torch, caffe or {mean: ..., std: ...}')
    return tuple(steps)


def _read(inputs: Sequence[TensorInfo], samples: Samples) -> _Read:
    if samples.kind == "npz":
        return _npz(inputs, samples.arrays)
    if samples.kind == "image":
        against = _no_images(inputs)
    else:
        against = None if len(inputs) == 1 else f"{samples.kind} files feed one input, {_several(inputs)}"
    if against is not None:
        return _Read(against=against)
    (info,) = inputs
    if samples.kind == "raw":
        return _raw(info, samples.size_bytes)
    seen = tuple(bare(arrays[""], info.shape) for arrays in samples.arrays)
    if samples.kind == "image":
        channels = info.shape[-1] if info.shape[-1] > 0 else 3
        seen = tuple((*size, channels) for size in seen) if len(set(seen)) == 1 else ()
    return _Read({info.name: seen}, f"{{type: {samples.kind}}}")


def _npz(inputs: Sequence[TensorInfo], files: Sequence[Mapping[str, Shape]]) -> _Read:
    if not files:
        return _Read(format="{type: npz}")
    found = matched(inputs, files[0])
    if found is None:
        names = ", ".join(f"{name} {written(shape)}" for name, shape in files[0].items())
        return _Read(against=f"no array in the files fits each input; they hold {names}")
    keys, certain = found
    shapes = {
        info.name: tuple(bare(one[keys[info.name]], info.shape) for one in files if keys[info.name] in one)
        for info in inputs
    }
    if set(files[0]) == set(keys):  # nothing but the inputs, by name
        return _Read(shapes, "{type: npz}")
    pairs = ", ".join(f"{name}: {json.dumps(key, ensure_ascii=False)}" for name, key in keys.items())
    guess = None if certain else "arrays of the same shape are taken in their order in the file; correct keys if wrong"
    return _Read(shapes, f"{{type: npz, keys: {{{pairs}}}}}", to_check=guess)


def _raw(info: TensorInfo, size_bytes: int) -> _Read:
    own = {info.dtype: size} if (size := _size_of(info.dtype)) else {}
    known = math.prod(size for size in info.shape[1:] if size > 0)
    unknown = info.shape[1:].count(-1)
    for dtype, item in {**own, **_ITEM_BYTES}.items():
        values, rest = divmod(size_bytes, item)
        if rest or unknown > 1 or not values or values % known or (not unknown and values != known):
            continue
        shape = tuple(size if size > 0 else values // known for size in info.shape[1:])
        guess = "the length is that of a file of this dtype; correct it if wrong" if unknown else None
        return _Read({info.name: (shape,)}, f"{{type: raw, dtype: {dtype}, shape: {list(shape)}}}", to_check=guess)
    return _Read(against=f"files of {size_bytes} bytes are no sample of shape {written(info.shape[1:])} in any dtype")


def _size_of(dtype: str) -> int | None:
    bits = dtype.lstrip("abcdefghijklmnopqrstuvwxyz")
    return int(bits) // 8 if bits.isdigit() else None


def _no_images(inputs: Sequence[TensorInfo]) -> str | None:
    if len(inputs) != 1:
        return f"images feed a model with one input, {_several(inputs)}"
    (info,) = inputs
    takes = f"'{info.name}' takes {info.dtype} {written(info.shape[1:])}"
    axis = channel_axis(info.shape)
    if axis is None:
        return f"images are read as (height, width, 1 or 3 channels), and {takes}"
    if axis == 1:
        return f"images are read with their channels last, and {takes}, channels first"
    return None if info.dtype in _PIXELS else f"pixels are 0..255, and {takes}"


def _several(inputs: Sequence[TensorInfo]) -> str:
    return f"and this one has {len(inputs)} ({', '.join(info.name for info in inputs)})"


def _misfit(
    inputs: Sequence[TensorInfo], shapes: Mapping[str, Shape], seen: Mapping[str, tuple[Shape, ...]]
) -> str | None:
    for info in inputs:
        samples = sorted(set(seen.get(info.name, ())))
        wrong = [shape for shape in samples if not fits(shape, info.shape)]
        if wrong:
            return f"these have the shape {written(wrong[0])}, and '{info.name}' takes {written(info.shape[1:])}"
        if any(shape != shapes[info.name][1:] for shape in samples):
            return (
                f"these differ in shape ({written(samples[0])} to {written(samples[-1])}), and a model is converted "
                "for one shape; pad or cut them to it"
            )
    return None


def _share(samples: Samples) -> int:
    """How many to calibrate on: half of them where the others are to evaluate on."""
    return min(_MOST_CALIBRATED_ON, samples.count if samples.path != samples.evaluation else max(1, samples.count // 2))


def _found(samples: Samples, read: _Read, steps: tuple[str, ...]) -> FoundData:
    count = samples.count
    each = samples.folders == "each"
    what = f"{count} samples in one file" if samples.stacked else f"{count} {samples.kind} files"
    apart = samples.path != samples.evaluation
    return FoundData(
        path=samples.path,
        evaluation=samples.evaluation,
        found=what + (", one folder a class" if each else ""),
        format=read.format,
        preprocess=steps,
        samples=_share(samples),
        select="stratified" if each else "random",
        labels="none" if samples.folders == "some" else None,
        classes=json.dumps(samples.classes, ensure_ascii=False) if samples.classes else None,
        all_used=count == 1 and not apart,
        to_check=read.to_check,
    )


def _wanted(inputs: Sequence[TensorInfo], rescales: bool | None, why: str | None, *, raw: bool) -> Wanted:
    """``inputs`` have every dimension known."""
    if raw and len(inputs) == 1:
        shape = list(inputs[0].shape[1:])
        how = "Say how the values are stored; with a stride a file is a long recording, and its windows are the samples"
        return Wanted(why, (how,), f"{{type: raw, dtype: {inputs[0].dtype}, shape: {shape}}}    # stride: ...")
    if len(inputs) != 1:
        arrays = ", ".join(f"{info.name}=..." for info in inputs)
        how = "Store each sample as an .npz with an array for each input, shaped as above without the batch"
        return Wanted(why, (how, f'numpy.savez("samples/0001.npz", {arrays})'), "{type: npz}")
    (info,) = inputs
    if _no_images(inputs) is None and why is None:
        return Wanted(why, (), "{type: image}        # or npy, npz, raw", image_steps(info, rescales))
    how = f"Store each sample as an .npy of shape {written(info.shape[1:])}, preprocessed as in training"
    return Wanted(why, (how, *_stored(info, rescales)), "{type: npy}")


def _stored(info: TensorInfo, rescales: bool | None) -> tuple[str, ...]:
    if channel_axis(info.shape) != 1:
        return ('numpy.save("samples/0001.npy", sample)',)
    _, channels, height, width = info.shape
    mode, turned = ("RGB", "image.transpose(2, 0, 1)") if channels == 3 else ("L", "image[None]")
    scaled = "" if rescales or "float" not in info.dtype else " / 255"
    return (
        f'image = Image.open("0001.png").convert("{mode}").resize(({width}, {height}))',
        f'image = numpy.asarray(image, "{info.dtype}"){scaled}',
        f'numpy.save("samples/0001.npy", {turned})',
    )
