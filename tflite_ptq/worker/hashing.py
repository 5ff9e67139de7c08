"""The runtime child's hashes of the samples that were chosen, by which the cache and the manifest know them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from tflite_ptq.cache.file_hashes import FileHashes
from tflite_ptq.cache.keys import SampleHashes
from tflite_ptq.data.index import SampleRef
from tflite_ptq.data.split import Split
from tflite_ptq.data.targets import Boxes, Mask, Target, Transcript


def sample_hashes(chosen: Split, memory: Path | None) -> SampleHashes:
    """Of each subset that has samples; a sample counts with its name, the bytes of its file, and what it is held
    against: its label, or the bytes of its mask, its boxes or its text."""
    roots = dict.fromkeys(ref.root for ref in (*chosen.calibration[:1], *chosen.evaluation[:1]))
    known = {root: FileHashes(memory, str(root)) for root in roots}
    found = SampleHashes(
        calibration=_subset(chosen.calibration, chosen.classes, known),
        evaluation=_subset(chosen.evaluation, chosen.classes, known),
    )
    for hashes in known.values():
        hashes.save()
    return found


def _subset(refs: Sequence[SampleRef], classes: Sequence[str] | None, known: Mapping[Path, FileHashes]) -> str | None:
    if not refs:
        return None
    hashes = known[refs[0].root]
    digest = hashlib.sha256(json.dumps(classes).encode())
    for ref in refs:
        line = json.dumps([ref.name, ref.label, _bytes_of(hashes, ref.file), _target(hashes, ref.target)])
        digest.update(f"{line}\n".encode())
    return digest.hexdigest()


def _target(hashes: FileHashes, target: Target) -> list[str | int | None] | None:
    """``steps`` of masks and boxes are the dataset's preprocessing, which keys hold already."""
    match target:
        case Mask(file=file, ignore=ignore):
            return ["mask", ignore, _bytes_of(hashes, file)]
        case Boxes(annotations=file, image_id=image, height=height, width=width):
            return ["boxes", image, height, width, _bytes_of(hashes, file)]
        case Transcript(text=text):
            return ["text", text]
        case None:
            return None


def _bytes_of(hashes: FileHashes, file: Path) -> str | None:
    try:
        return hashes.of(file)
    except OSError:  # whoever reads the sample will say so
        return None
