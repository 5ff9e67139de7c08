"""What ``init`` asks of the runtime child, and the result."""

from __future__ import annotations

from typing import Literal

from tflite_ptq.recipe.schema import Model
from tflite_ptq.result import Frozen


class LookAt(Frozen):
    """Look into a few sample files, images or ``.npy``, and whether the model scales its inputs itself."""

    job: Literal["look-at"] = "look-at"
    model: Model
    files: tuple[str, ...]


class LookedAt(Frozen):
    """``shapes``, a file each: an image's height and width, all dimensions of an array, ``None`` where it cannot be
    read. ``rescales``: ``None`` where the model does not tell."""

    shapes: tuple[tuple[int, ...] | None, ...]
    rescales: bool | None
