"""``manifest.json``: the hash of everything a run read and wrote, and whether its files are still those."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Literal

from pydantic import ValidationError

from tflite_ptq import atomic
from tflite_ptq.cache.keys import SampleHashes
from tflite_ptq.errors import UsageError
from tflite_ptq.fingerprint import sha256_of
from tflite_ptq.report.outcome_folder import MANIFEST_NAME, left
from tflite_ptq.result import Frozen, Report

_FORMAT = "tflite-ptq-manifest/1"


class Input(Frozen):
    """A file or folder that the run read, with the hash of its bytes (of a folder: of its files' names and hashes)."""

    path: str
    sha256: str


class Manifest(Frozen):
    """SHA-256, hexadecimal. ``samples`` are those that were chosen: names, labels, class names and bytes.

    ``versions`` are of the program and of what it computed with; ``files`` are the run's, by name in its folder.
    """

    format: Literal["tflite-ptq-manifest/1"] = "tflite-ptq-manifest/1"
    recipe: Input
    overrides: tuple[str, ...]
    model: Input | None
    samples: SampleHashes
    versions: dict[str, str | None]
    files: dict[str, str]


class Change(Frozen):
    """A file that is not as the manifest says; ``how`` in words."""

    path: str
    how: Literal["changed", "missing", "cannot be read"]


def write(report: Report, samples: SampleHashes, versions: Mapping[str, str | None], folder: Path) -> None:
    """Writes the manifest of the finished run in ``folder``, last of all its files.

    Raises ``DiskFullError`` or ``OutputError`` where it cannot be written.
    """
    model = report.model
    manifest = Manifest(
        recipe=Input(path=report.recipe.path, sha256=report.recipe.sha256),
        overrides=report.recipe.overrides,
        model=Input(path=model.path, sha256=model.sha256) if model is not None else None,
        samples=samples,
        versions=dict(versions),
        files={name: sha256_of(folder / name) for name in left(folder, [v.name for v in report.variants])},
    )
    _put(manifest, folder)


def holds(folder: Path, name: str) -> bool:
    """Whether the file ``name`` of a run is as its manifest says."""
    try:
        return read(folder).files.get(name) == sha256_of(folder / name)
    except (UsageError, OSError):
        return False


def rendered_again(folder: Path, names: Iterable[str]) -> None:
    """Takes the files ``names`` of a finished run as they are now.

    Raises ``UsageError`` where there is no manifest, ``DiskFullError`` or ``OutputError`` where it cannot be written.
    """
    manifest = read(folder)
    known = {name: sha256_of(folder / name) for name in names if name in manifest.files}
    _put(manifest.model_copy(update={"files": {**manifest.files, **known}}), folder)


def read(folder: Path) -> Manifest:
    """The manifest of the run in ``folder``. Raises ``UsageError`` where there is none, or it is not whole."""
    path = folder / MANIFEST_NAME
    try:
        data: object = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise UsageError(
            f"{folder}: holds no {MANIFEST_NAME}; name the output folder of a run that came to its end"
        ) from error
    except OSError as error:
        raise UsageError(f"{path}: cannot be read ({error.strerror}); name the output folder of a run") from error
    except ValueError as error:
        raise UsageError(
            f"{path}: not valid JSON ({error}); it was edited or is truncated, so nothing is sure"
        ) from error
    found = data.get("format") if isinstance(data, dict) else None
    if found != _FORMAT:
        what = "no 'format' key" if found is None else f"format {found!r}"
        raise UsageError(f"{path}: expected format '{_FORMAT}', found {what}; use the tflite-ptq that wrote it")
    try:
        return Manifest.model_validate(data)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise UsageError(f"{path}: {place}: {first['msg']}; it was edited or is damaged, so nothing is sure") from error


def changes(manifest: Manifest, folder: Path, *, sources: bool = False) -> Iterator[Change]:
    """The run's files that are not those that were measured; with ``sources`` also the recipe and the model."""
    expected = {str(folder / name): digest for name, digest in manifest.files.items()}
    if sources:
        expected |= {one.path: one.sha256 for one in (manifest.recipe, manifest.model) if one is not None}
    for name, digest in expected.items():
        path = Path(name)
        try:
            if not path.exists():
                yield Change(path=name, how="missing")
            elif sha256_of(path) != digest:
                yield Change(path=name, how="changed")
        except OSError:
            yield Change(path=name, how="cannot be read")


def _put(manifest: Manifest, folder: Path) -> None:
    text = json.dumps(manifest.model_dump(mode="json"), indent=2, ensure_ascii=False)
    atomic.write(folder / MANIFEST_NAME, f"{text}\n".encode())
