"""What every step of a run works with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tflite_ptq.cache.keys import Keys
from tflite_ptq.cache.session import Cache
from tflite_ptq.journal import Journal
from tflite_ptq.observer import Observer
from tflite_ptq.recipe.loader import LoadedRecipe
from tflite_ptq.recipe.schema import Recipe, Variant
from tflite_ptq.worker.children import Children


@dataclass(frozen=True)
class RunContext:
    """``variants`` are those asked for, and lie in ``folder``; ``journal`` is told what came out, ``observer`` what is
    being done."""

    loaded: LoadedRecipe
    variants: tuple[Variant, ...]
    folder: Path
    children: Children
    cache: Cache
    keys: Keys
    journal: Journal
    observer: Observer

    @property
    def recipe(self) -> Recipe:
        """The recipe itself."""
        return self.loaded.recipe

    def file(self, name: str) -> Path:
        """A variant's file, or float32's."""
        return self.folder / f"{name}.tflite"

    def progress(self, what: str) -> Callable[[int, int], None]:
        """What tells the observer how far ``what`` is."""
        return lambda done, total: self.observer.stage(what, done, total)
