"""``verify``: what was done to a run's folder -> exit code and message."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import Command


@pytest.fixture
def finished(relu: Path, vectors: Path, tmp_path: Path, run: Command, write_recipe: Callable[..., Path]) -> Path:
    dataset = {"format": {"type": "npy"}, "evaluation": {"path": str(vectors)}}
    model = tmp_path / "my model.tflite"
    model.write_bytes(relu.read_bytes())
    assert run("convert", write_recipe(model, dataset), "--output", tmp_path / "out put", "-q").code == 0
    return tmp_path / "out put"


def test_the_manifest_holds_every_hash(finished: Path, tmp_path: Path) -> None:
    found = json.loads((finished / "manifest.json").read_text(encoding="utf-8"))

    def sha256(path: Path) -> str:
        return hashlib.sha256(path.read_bytes()).hexdigest()

    assert found["format"] == "tflite-ptq-manifest/1"
    assert found["recipe"] == {"path": str(tmp_path / "recipe.yaml"), "sha256": sha256(tmp_path / "recipe.yaml")}
    assert found["model"] == {"path": str(tmp_path / "my model.tflite"), "sha256": sha256(tmp_path / "my model.tflite")}
    written = {path.name for path in finished.iterdir()} - {"manifest.json", "log.txt"}
    assert {"float32.tflite", "report.json", "report.md"} <= written
    assert found["files"] == {name: sha256(finished / name) for name in written}
    assert found["samples"]["calibration"] is None and len(found["samples"]["evaluation"]) == 64
    assert {"tool", "tensorflow", "ai-edge-litert", "numpy"} <= found["versions"].keys()


def append(name: str) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        with (folder / name).open("ab") as file:
            file.write(b" ")

    return change


def write(text: str) -> Callable[[Path], None]:
    return lambda folder: (folder / "manifest.json").write_text(text, encoding="utf-8") and None


def edited(old: str, new: str) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        text = (folder / "manifest.json").read_text(encoding="utf-8")
        assert old in text
        (folder / "manifest.json").write_text(text.replace(old, new), encoding="utf-8")

    return change


CHANGED = "changed; it is not what was measured"
MISSING = "missing; it is not what was measured"
# what is done to the folder, more arguments, exit code, messages
VERDICTS: list[tuple[str, Callable[[Path], object], list[str], int, list[str]]] = [
    ("nothing", lambda f: None, [], 0, []),
    ("nothing, with sources", lambda f: None, ["--sources"], 0, []),
    ("log", append("log.txt"), [], 0, []),
    ("a file of another run", lambda f: (f / "other.tflite").write_bytes(b""), [], 0, []),
    ("model", append("float32.tflite"), [], 3, [f"{{folder}}/float32.tflite: {CHANGED}"]),
    ("report", append("report.json"), [], 3, [f"{{folder}}/report.json: {CHANGED}"]),
    ("gone", lambda f: (f / "report.md").unlink(), [], 3, [f"{{folder}}/report.md: {MISSING}"]),
    ("recipe, not asked for", append("../recipe.yaml"), [], 0, []),
    ("recipe", append("../recipe.yaml"), ["--sources"], 3, [f"{{parent}}/recipe.yaml: {CHANGED}"]),
    ("source", append("../my model.tflite"), ["--sources"], 3, [f"{{parent}}/my model.tflite: {CHANGED}"]),
    (
        "no manifest",
        lambda f: (f / "manifest.json").unlink(),
        [],
        2,
        ["{folder}: holds no manifest.json; name the output folder of a run that came to its end"],
    ),
    (
        "truncated",
        write('{"format": "tflite'),
        [],
        2,
        [
            "{folder}/manifest.json: not valid JSON (Unterminated string starting at: line 1 column 12 (char 11)); it "
            "was edited or is truncated, so nothing is sure"
        ],
    ),
    (
        "another format",
        edited("manifest/1", "manifest/9"),
        [],
        2,
        [
            "{folder}/manifest.json: expected format 'tflite-ptq-manifest/1', found format 'tflite-ptq-manifest/9'; "
            "use the tflite-ptq that wrote it"
        ],
    ),
    (
        "no object",
        write("[]"),
        [],
        2,
        [
            "{folder}/manifest.json: expected format 'tflite-ptq-manifest/1', found no 'format' key; use the "
            "tflite-ptq that wrote it"
        ],
    ),
    (
        "a key too few",
        edited('"overrides"', '"overridden"'),
        [],
        2,
        ["{folder}/manifest.json: overrides: Field required; it was edited or is damaged, so nothing is sure"],
    ),
]


@pytest.mark.parametrize(
    ("change", "more", "code", "messages"), [verdict[1:] for verdict in VERDICTS], ids=[v[0] for v in VERDICTS]
)
def test_verdicts(
    change: Callable[[Path], object], more: list[str], code: int, messages: list[str], finished: Path, run: Command
) -> None:
    measured = len(list(finished.iterdir())) - len(["manifest.json", "log.txt"])
    change(finished)
    ended = run("verify", finished, *more)
    said = "".join(f"error: {m.format(folder=finished, parent=finished.parent)}\n" for m in messages)
    assert (ended.code, ended.err) == (code, said)
    assert ended.out == ("" if code else f"{finished}: all {measured} files are those that were measured\n")


def test_no_folder_at_all(run: Command, tmp_path: Path) -> None:
    ended = run("verify", tmp_path / "gone")
    message = f"{tmp_path}/gone: holds no manifest.json; name the output folder of a run that came to its end"
    assert (ended.code, ended.err) == (2, f"error: {message}\n")


def test_a_run_that_stops_leaves_no_manifest_of_the_one_before(
    finished: Path, run: Command, tmp_path: Path, vectors: Path
) -> None:
    """The samples are spoilt: the run stops after the folder was emptied."""
    (vectors / "05.npy").write_bytes(b"no array")
    assert run("convert", tmp_path / "recipe.yaml", "--output", finished, "-q").code == 3
    assert run("verify", finished).code == 2
