"""The two children of a run and their scratch folder; gone when the run ends, however it ends."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tflite_ptq.errors import OutputError
from tflite_ptq.worker.process import Worker


@dataclass(frozen=True)
class Children:
    """``converter`` has TensorFlow, ``runtime`` has LiteRT; what they print goes to ``log``; ``work`` is scratch."""

    converter: Worker
    runtime: Worker
    log: Path
    work: Path
    timeout_s: float


@contextmanager
def children_of(log: Path, timeout_s: float) -> Iterator[Children]:
    """Starts both, so that TensorFlow is imported while the dataset is scanned."""
    converter = Worker("tflite_ptq.worker.converter", log, timeout_s)
    runtime = Worker("tflite_ptq.worker.runtime", log, timeout_s)
    try:
        work = Path(tempfile.mkdtemp(prefix="tflite-ptq-"))
    except OSError as error:
        raise OutputError(f"no temporary folder can be made ({error}); set TMPDIR to a folder with space") from error
    try:
        converter.start()
        runtime.start()
        yield Children(converter, runtime, log, work, timeout_s)
    finally:
        converter.kill()
        runtime.kill()
        shutil.rmtree(work, ignore_errors=True)
