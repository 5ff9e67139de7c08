"""The two children of a run and their scratch folder; gone when the run ends, however it ends."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tflite_ptq.worker.process import Worker
from tflite_ptq.worker.scratch import new_folder
from tflite_ptq.worker.spawning import RUNTIME, Early


@dataclass(frozen=True)
class Children:
    """``converter`` has TensorFlow, ``runtime`` has LiteRT; what they print goes to ``log``; ``work`` is scratch."""

    converter: Worker
    runtime: Worker
    log: Path
    work: Path
    timeout_s: float

    @property
    def exported(self) -> Path:
        """Where the converter puts the exported source."""
        return self.work / "saved_model"


@contextmanager
def children_of(log: Path, timeout_s: float, *, convert: bool = True, early: Early | None = None) -> Iterator[Children]:
    """Starts both, so that TensorFlow is imported while the dataset is scanned; without ``convert`` the converter
    waits for its first job. ``early`` is the runtime child, where it was started before."""
    work = new_folder()
    converter = Worker("tflite_ptq.worker.converter", log, timeout_s, work)
    runtime = Worker(RUNTIME, log, timeout_s, work, early)
    try:
        if convert:
            converter.start()
        runtime.start()
        yield Children(converter, runtime, log, work, timeout_s)
    finally:
        converter.kill()
        runtime.kill()
        shutil.rmtree(work, ignore_errors=True)
