"""The source model: its signature, and its export, which is needed on disk only while something is converted."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tflite_ptq.cache.file_hashes import model_sha256
from tflite_ptq.cache.key import Key
from tflite_ptq.cache.session import Cache
from tflite_ptq.errors import ModelError
from tflite_ptq.recipe.schema import Model
from tflite_ptq.worker.children import Children
from tflite_ptq.worker.messages import Opened, OpenSource

_EXPORT = "saved_model"


@dataclass(frozen=True)
class Source:
    """A Keras model or SavedModel. ``open`` and ``ensure`` are for the thread that talks to the converter."""

    model: Model
    key: Key
    children: Children
    cache: Cache

    def known(self) -> Opened | None:
        """The signature, where the cache holds it: the export stays there."""
        return self.cache.look(self.key, Opened, "source")

    def open(self) -> Opened:
        """Exports the source, or takes its export out of the cache."""
        request = OpenSource(model=self.model, folder=str(self.children.exported))
        return self.cache.through(
            self.key,
            Opened,
            "source",
            lambda: self.children.converter.ask(request, Opened, "open the model"),
            {_EXPORT: self.children.exported},
        )

    def ensure(self) -> None:
        """The export is on disk."""
        if not self.children.exported.exists():
            self.open()


def hash_of(model: Model, memory: Path | None) -> str:
    """SHA-256 of the model file or folder. Raises ``ModelError`` where it cannot be read."""
    try:
        return model_sha256(Path(model.path), memory)
    except OSError as error:
        raise ModelError(
            f"{model.path}: cannot be read ({error.strerror or error}); check path and permissions"
        ) from error
