"""Keras models trained in mixed precision, rebuilt to compute in float32.

Their variables are float32, their activations float16 or bfloat16, for which TensorFlow Lite has no convolution.
"""

from __future__ import annotations

from typing import Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

_POLICIES = frozenset({"mixed_float16", "mixed_bfloat16"})


class _KerasModel(Protocol):
    """What is used of a model of either Keras."""

    def get_config(self) -> object: ...
    @classmethod
    def from_config(cls: type[_ModelT], config: object) -> _ModelT: ...
    def get_weights(self) -> list[NDArray[np.generic]]: ...
    def set_weights(self, weights: list[NDArray[np.generic]]) -> None: ...


_ModelT = TypeVar("_ModelT", bound=_KerasModel)


def in_float32(model: _ModelT) -> _ModelT:
    """``model`` itself where none of its layers computes in mixed precision, else its twin with the same weights."""
    try:
        config: object = model.get_config()
    except NotImplementedError:  # a subclassed model
        return model
    if not _mixed(config):
        return model
    twin = type(model).from_config(_unmixed(config))
    twin.set_weights(model.get_weights())
    return twin


def _mixed(config: object) -> bool:
    if isinstance(config, dict):
        return any(map(_mixed, config.values()))
    if isinstance(config, (list, tuple)):
        return any(map(_mixed, config))
    return isinstance(config, str) and config in _POLICIES


def _unmixed(config: object) -> object:
    if isinstance(config, dict):
        return {key: _unmixed(value) for key, value in config.items()}
    if isinstance(config, (list, tuple)):
        return type(config)(map(_unmixed, config))
    return "float32" if isinstance(config, str) and config in _POLICIES else config
