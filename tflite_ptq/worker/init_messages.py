"""What ``init`` asks of the runtime child, and the result."""

from __future__ import annotations

from typing import Literal

from tflite_ptq.recipe.schema import Model
from tflite_ptq.result import Frozen


class LookAt(Frozen):
    """Look into a few sample files (images, ``.npy``, ``.npz``), and at what the model does to its inputs."""

    job: Literal["look-at"] = "look-at"
    model: Model
    files: tuple[str, ...]


class Looked(Frozen):
    """A file: shapes by array name, of an image (height and width) and an ``.npy`` under ``""``; ``fault`` where it
    cannot be read."""

    arrays: dict[str, tuple[int, ...]] = {}
    fault: str | None = None


class LookedAt(Frozen):
    """``files`` in the order asked for. ``rescales``: the model scales its inputs itself, ``None`` where it does not
    tell. ``loops``: it holds loops, as recurrent layers become."""

    files: tuple[Looked, ...]
    rescales: bool | None
    loops: bool
