"""What a Keras model's JSON configuration declares: its inputs, their scaling, code (pure; Keras 2 and 3, any kind)."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from statistics import median

from tflite_ptq.errors import ModelError
from tflite_ptq.result import TensorInfo

_SHAPE_KEYS = ("batch_shape", "batch_input_shape")

LARGE = 15.0
"""Larger than any spread or centre of values 0..1 or -1..1, smaller than those of x / 255, x / 127.5 - 1, the ImageNet
mean and std in units of 0..255, and of 4-bit grey levels."""

_RECURRENT = frozenset({"LSTM", "GRU", "SimpleRNN", "RNN", "ConvLSTM1D", "ConvLSTM2D", "ConvLSTM3D"})


def inputs_of(config: object) -> tuple[TensorInfo, ...] | None:
    """Inputs in the model's own order, named after their ``InputLayer``; ``None`` where the configuration does not
    tell (subclassed models, a Sequential that was never built)."""
    inner = _mapping(_mapping(config).get("config"))
    # Keras before 2.3 wrote a Sequential's layers without a mapping around them.
    layers = _mapping(config).get("config") if not inner else inner.get("layers")
    if not isinstance(layers, list) or not layers:
        return None
    if "input_layers" in inner:
        return _functional(layers, inner["input_layers"])
    return _sequential(layers, inner)


def scales_inputs(config: object) -> bool | None:
    """Whether a Rescaling or Normalization layer, anywhere in the model, brings large numbers (0..255) to around 1.

    ``None`` where a Normalization has learnt its numbers: the configuration does not hold them.
    """
    found = set(_scalings(config))
    return True if True in found else None if None in found else False


def _scalings(config: object) -> Iterator[bool | None]:
    if isinstance(config, list):
        for one in config:
            yield from _scalings(one)
    if not isinstance(config, dict):
        return
    inner = _mapping(config.get("config"))
    if config.get("class_name") == "Rescaling":
        scales = _numbers(inner.get("scale"))
        yield LARGE * median(map(abs, scales)) <= 1 if scales else None
    elif config.get("class_name") == "Normalization":
        means, variances = _numbers(inner.get("mean")), _numbers(inner.get("variance"))
        known = max(median(map(abs, means)), math.sqrt(median(variances))) if means and variances else None
        yield None if known is None else known >= LARGE
    for one in config.values():
        yield from _scalings(one)


def _numbers(value: object) -> list[float]:
    """Those of a nest of lists; none where it holds anything else."""
    if isinstance(value, list):
        nested = [_numbers(one) for one in value]
        return [number for one in nested for number in one] if all(nested) else []
    return [float(value)] if isinstance(value, int | float) else []


def has_loops(config: object) -> bool:
    """Whether a recurrent layer anywhere in the model becomes a loop: one that is not unrolled, but for the LSTM of
    Keras 2 (told by its ``time_major``), which TFLiteConverter knows as an operator."""
    if isinstance(config, dict):
        inner = _mapping(config.get("config"))
        recurrent = config.get("class_name") in _RECURRENT and not inner.get("unroll", False)
        if recurrent and not (config["class_name"] == "LSTM" and "time_major" in inner):
            return True
        return any(map(has_loops, config.values()))
    return isinstance(config, list) and any(map(has_loops, config))


def refuse_code(path: Path, config: object) -> None:
    """Raises ``ModelError`` where the configuration in ``path`` holds Python that loading the model would run."""
    names = sorted(_lambdas(config))
    if names:
        raise ModelError(
            f"{path}: the file holds code that would run on this machine (Lambda layer {', '.join(names)}); if you "
            "trust where it comes from, say so in the recipe: model: {trust: true} (with init: --trust)"
        )


def _lambdas(config: object) -> set[str]:
    found: set[str] = set()
    if isinstance(config, dict):
        if config.get("class_name") in ("Lambda", "__lambda__"):
            inner = config.get("config")
            return {str(inner.get("name", "lambda")) if isinstance(inner, dict) else "lambda"}
        for value in config.values():
            found |= _lambdas(value)
    elif isinstance(config, list):
        for value in config:
            found |= _lambdas(value)
    return found


def _functional(layers: list[object], declared: object) -> tuple[TensorInfo, ...] | None:
    by_name: dict[str, TensorInfo] = {}
    for layer in layers:
        info = _input(layer)
        if info is not None:
            by_name[info.name] = info
    names = _names(declared)
    if not names or any(name not in by_name for name in names):
        return None
    return tuple(by_name[name] for name in names)


def _names(declared: object) -> list[str]:
    """Layer names out of ``["x", 0, 0]``, or lists or mappings of such."""
    if isinstance(declared, dict):
        return [name for value in declared.values() for name in _names(value)]
    if isinstance(declared, list) and declared:
        if isinstance(declared[0], str):
            return [declared[0]]
        return [name for value in declared for name in _names(value)]
    return []


def _sequential(layers: list[object], inner: dict[str, object]) -> tuple[TensorInfo, ...] | None:
    first = _mapping(layers[0])
    if first.get("class_name") == "InputLayer":
        info = _input(first)
        return None if info is None else (info,)
    nested = inputs_of(first)
    if nested is not None:
        return nested
    settings = _mapping(first.get("config"))
    shape = next((settings[key] for key in _SHAPE_KEYS if settings.get(key)), inner.get("build_input_shape"))
    dimensions = _shape(shape)
    if dimensions is None:
        return None
    # Keras names the input it makes for a first layer after that layer.
    name = f"{settings.get('name', first.get('name', 'layer'))}_input"
    return (TensorInfo(name=name, shape=dimensions, dtype=_dtype(settings.get("dtype"))),)


def _input(layer: object) -> TensorInfo | None:
    entry = _mapping(layer)
    settings = _mapping(entry.get("config"))
    shape = _shape(next((settings[key] for key in _SHAPE_KEYS if key in settings), None))
    if entry.get("class_name") != "InputLayer" or shape is None:
        return None
    return TensorInfo(
        name=str(settings.get("name", entry.get("name"))), shape=shape, dtype=_dtype(settings.get("dtype"))
    )


def _shape(value: object) -> tuple[int, ...] | None:
    """Keras 3 may wrap a tuple as ``{"class_name": "__tuple__", "items": [...]}``."""
    items = _mapping(value).get("items", value)
    if not isinstance(items, list) or not all(item is None or isinstance(item, int) for item in items):
        return None
    return tuple(-1 if item is None else item for item in items)


def _dtype(value: object) -> str:
    """A name, or a serialized policy; under a mixed policy inputs are float32."""
    name = value if isinstance(value, str) else _mapping(_mapping(value).get("config")).get("name")
    return name if isinstance(name, str) and not name.startswith("mixed_") else "float32"


def _mapping(value: object) -> dict[str, object]:
    return value if isinstance(value, dict) else {}
