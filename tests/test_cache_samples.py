"""The hash of the chosen samples: all that an evaluation is held against changes it, places and times do not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from tflite_ptq.data.index import SampleRef
from tflite_ptq.data.split import Split
from tflite_ptq.data.targets import Boxes, Mask, Transcript
from tflite_ptq.worker.hashing import sample_hashes


@pytest.fixture
def sample(tmp_path: Path) -> SampleRef:
    for name in ("a.png", "b.png", "mask.png", "boxes.json"):
        (tmp_path / name).write_text(name)
    return SampleRef(tmp_path / "a.png", None, 1, tmp_path)


def digest(ref: SampleRef, classes: tuple[str, ...] | None = None) -> str:
    found = sample_hashes(Split((), (ref,), 0, classes), None)
    assert found.calibration is None and found.evaluation is not None
    return found.evaluation


def mask(ref: SampleRef, ignore: int | None = None) -> SampleRef:
    return replace(ref, label=None, target=Mask(ref.root / "mask.png", ignore, ()))


def boxes(ref: SampleRef, image_id: int = 1) -> SampleRef:
    return replace(ref, label=None, target=Boxes(ref.root / "boxes.json", image_id, 8, 8, ()))


def text(ref: SampleRef, said: str = "yes") -> SampleRef:
    return replace(ref, label=None, target=Transcript(said))


DIFFERENT: dict[str, Callable[[SampleRef], SampleRef]] = {
    "label": lambda ref: replace(ref, label=2),
    "target": lambda ref: replace(ref, label=1.5),
    "no label": lambda ref: replace(ref, label=None),
    "name": lambda ref: replace(ref, file=ref.root / "b.png"),
    "position": lambda ref: replace(ref, index=3),
    "mask": mask,
    "mask, 255 ignored": lambda ref: mask(ref, 255),
    "boxes": boxes,
    "boxes of another image": lambda ref: boxes(ref, 2),
    "text": text,
    "another text": lambda ref: text(ref, "no"),
}


def test_each_part_counts(sample: SampleRef) -> None:
    found = [digest(sample), digest(sample, ("x", "y")), *(digest(change(sample)) for change in DIFFERENT.values())]
    assert len(set(found)) == len(found)


@pytest.mark.parametrize(("target", "file"), [(lambda r: r, "a.png"), (mask, "mask.png"), (boxes, "boxes.json")])
def test_the_bytes_of_each_file_count(target: Callable[[SampleRef], SampleRef], file: str, sample: SampleRef) -> None:
    before = digest(target(sample))
    path = sample.root / file
    data = path.read_bytes()
    path.write_bytes(data + b" ")
    assert digest(target(sample)) != before
    path.unlink()
    assert digest(target(sample)) != before
    path.write_bytes(data)
    assert digest(target(sample)) == before
