"""``init`` where model and samples do not simply fit: what it works out, and what it marks for the user to fill in."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest
from conftest import Command
from PIL import Image

from tflite_ptq.model.keras_config import has_loops
from tflite_ptq.recipe.guesses import Shape, guessed, matched
from tflite_ptq.result import TensorInfo

# (shape of the input, shapes of samples, the guess)
GUESSES: list[tuple[Shape, list[Shape], Shape]] = [
    ((-1, 4), [], (1, 4)),
    ((-1, -1, -1, 3), [], (1, 224, 224, 3)),
    ((-1, 3, -1, -1), [], (1, 3, 224, 224)),
    ((-1, -1, -1, -1), [], (1, 224, 224, 3)),
    ((-1, -1, 40), [], (1, 128, 40)),
    ((-1, -1), [], (1, 128)),
    ((-1, -1, 64, 64, 3), [], (1, 16, 64, 64, 3)),
    ((-1, -1, 40), [(50, 40), (70, 40), (90, 41)], (1, 70, 40)),
    ((-1, -1, 40), [(50, 40, 1)], (1, 128, 40)),
]


@pytest.mark.parametrize(("shape", "samples", "guess"), GUESSES)
def test_guesses(shape: Shape, samples: list[Shape], guess: Shape) -> None:
    assert guessed(shape, samples) == guess


# (arrays of a file, those for inputs a (4,) and b (?, 2), whether certain)
MATCHES: list[tuple[Mapping[str, Shape], object]] = [
    ({"b": (9, 2), "a": (4,)}, ({"a": "a", "b": "b"}, True)),
    ({"x": (9, 2), "y": (1, 4)}, ({"a": "y", "b": "x"}, True)),
    ({"label": (), "x": (9, 2), "a": (4,)}, ({"a": "a", "b": "x"}, True)),
    ({"x": (9, 2), "y": (8, 2), "a": (4,)}, ({"a": "a", "b": "x"}, False)),
    ({"x": (9, 3), "a": (4,)}, None),
]


@pytest.mark.parametrize(("arrays", "found"), MATCHES)
def test_matches(arrays: Mapping[str, Shape], found: object) -> None:
    a, b = (TensorInfo(name=name, shape=shape, dtype="float32") for name, shape in (("a", (-1, 4)), ("b", (-1, -1, 2))))
    assert matched((a, b), arrays) == found


# (a layer, its settings, whether it becomes a loop): what test_sources converts, and what it is refused
LAYERS = [
    ("LSTM", {"unroll": False}, True),
    ("LSTM", {"unroll": False, "time_major": False}, False),
    ("GRU", {"unroll": False, "time_major": False}, True),
    ("GRU", {"unroll": True}, False),
    ("Dense", {}, False),
]


@pytest.mark.parametrize(("layer", "settings", "loop"), LAYERS)
def test_loops(layer: str, settings: dict[str, object], loop: bool) -> None:
    inner = {"class_name": layer, "config": settings}
    wrapped = {"class_name": "Bidirectional", "config": {"layer": inner}}
    assert has_loops({"class_name": "Sequential", "config": {"layers": [wrapped]}}) is loop


def arrays_of(folder: str, *shapes: Shape, name: str = "") -> str:
    """A file each: an ``.npy``, or with ``name`` an ``.npz``."""
    Path(folder).mkdir()
    for i, shape in enumerate(shapes):
        values = np.random.default_rng(i).random(shape, np.float32)
        if name:
            np.savez(f"{folder}/{i}.npz", **{name: values})
        else:
            np.save(f"{folder}/{i}.npy", values)
    return folder


def raw_of(folder: str, values: int) -> str:
    Path(folder).mkdir()
    np.zeros(values, np.float32).tofile(f"{folder}/0.bin")
    return folder


# (model, samples, what stands in the recipe, whether something is marked)
WORKED_OUT: list[tuple[str, Callable[[], str], list[str], bool]] = [
    ("length.keras", lambda: arrays_of("s", (50, 5), (50, 5)), ["[1, 50, 5]}", "sizes here are those of"], False),
    ("length.keras", lambda: arrays_of("s", (50, 5), name="x"), ["[1, 50, 5]}", 'keys: {frames: "x"}'], False),
    ("length.keras", lambda: raw_of("s", 250), ["[1, 50, 5]}", "{type: raw, dtype: float32, shape: [50, 5]}"], True),
    (
        "length.keras",
        lambda: arrays_of("s", (50, 5), (60, 5)),
        ["[1, 60, 5]}", "these differ in shape ((50, 5) to (60, 5))", "# dataset:"],
        True,
    ),
    ("tiny.keras", lambda: arrays_of("s", (9, 9, 1)), ["shape (9, 9, 1), and 'image' takes (8, 8, 1)"], True),
    ("tiny.keras", lambda: raw_of("s", 65), ["files of 260 bytes are no sample of shape (8, 8, 1)"], True),
    ("loop.keras", lambda: arrays_of("s", (50, 5), (50, 5)), ["become loops", "  # - {scheme: int8, io: int8}"], False),
]


@pytest.mark.slow
@pytest.mark.parametrize(("model", "samples", "wanted", "marked"), WORKED_OUT)
def test_worked_out(
    model: str, samples: Callable[[], str], wanted: list[str], marked: bool, models: Path, run: Command, check: Command
) -> None:
    ended = run("init", models / model, "--data", samples())
    assert ended.code == 0, ended.err
    text = Path("recipe.yaml").read_text(encoding="utf-8")
    plain = re.sub(r"\n *# ", " ", text)
    assert all(part in text or part in plain for part in wanted), text
    assert ("FILL IN:" in ended.out) == ("# FILL IN:" in text) == marked
    ended = check("recipe.yaml")
    assert ended.code == 0, ended.err


def as_told(recipe: Path, images: list[Path], replaced: Mapping[str, str]) -> None:
    """Does what the comments of a recipe say: runs their Python for each image, and removes the #."""
    lines = recipe.read_text(encoding="utf-8").splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith("# FILL IN: integer variants need samples, but"))
    ready = lines.index("# dataset:")
    python = "\n".join(line[4:] for line in lines[start:ready] if line.startswith("#   "))
    for old, new in replaced.items():
        python = python.replace(old, new)
    Path("samples").mkdir()
    for i, image in enumerate(images):
        code = python.replace("0001.png", str(image)).replace("0001", f"{i:04}")
        exec(code, {"numpy": np, "Image": Image})
    end = lines.index("", ready)
    lines[ready:end] = [line.removeprefix("# ") for line in lines[ready:end]]
    lines = [line.replace("  # - {scheme: int8", "  - {scheme: int8") for line in lines]
    recipe.write_text("\n".join(lines), encoding="utf-8")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("model", "why", "replaced"),
    [
        ("pair.keras", "images feed a model with one input, and this one has 2 (left, right)", {"...": "image"}),
        ("first.keras", "'pixels' takes float32 (3, 8, 10), channels first", {}),
    ],
)
def test_what_it_marks_is_all_there_is_to_do(
    model: str, why: str, replaced: Mapping[str, str], models: Path, images: Path, run: Command, check: Command
) -> None:
    recipe = Path("recipe.yaml")
    ended = run("init", models / model, "--data", images)
    assert ended.out == (
        "wrote recipe.yaml; fill in what it marks with 'FILL IN:', then: tflite-ptq check recipe.yaml\n"
    )
    assert why in recipe.read_text(encoding="utf-8").replace("\n# ", " ")
    assert run("convert", recipe, "--no-benchmark").code == 0, "untouched"
    opened = {
        "numpy.savez": 'image = numpy.asarray(Image.open("0001.png").convert("RGB"), "float32") / 255\nnumpy.savez'
    }
    as_told(recipe, sorted(images.rglob("*.png")), {**replaced, **(opened if replaced else {})})
    ended = check(recipe)
    assert ended.code == 0, ended.err
    assert "3 variants (dynamic, float16, int8)" in ended.out and "12 for calibration" not in ended.out


@pytest.mark.slow
def test_channels_first_samples_are_the_images_turned(models: Path, images: Path, run: Command) -> None:
    assert run("init", models / "first.keras", "--data", images).code == 0
    file = images / "a" / "0.png"
    Image.fromarray(np.arange(240, dtype=np.uint8).reshape(8, 10, 3)).save(file)
    as_told(Path("recipe.yaml"), [file], {})
    sample = np.load("samples/0000.npy")
    assert (sample.shape, sample.dtype) == ((3, 8, 10), np.float32)
    np.testing.assert_allclose(sample[2, 7, 9], 239 / 255)
    np.testing.assert_allclose(sample[0, 1, 0], 30 / 255)


@pytest.mark.slow
@pytest.mark.parametrize("model", ["bytes.keras", "bytes_saved"])
def test_a_model_of_uint8_images_converts(model: str, models: Path, images: Path, run: Command) -> None:
    """TensorFlow Lite casts no uint8 to float in integers: that operator is let be, and nothing else."""
    assert run("init", models / model, "--data", images).code == 0
    ended = run("convert", "recipe.yaml", "--set", "benchmark.latency=null", "--json")
    assert ended.code == 0, ended.err
    made = {variant["name"]: variant for variant in json.loads(ended.out)["variants"]}
    assert list(made) == ["float32", "dynamic", "float16", "int8-uint8"]
    audit = made["int8-uint8"]["audit"]
    assert audit["input_dtypes"] == {"image": "uint8"} and {*audit["output_dtypes"].values()} == {"uint8"}
    assert {op.partition(" ")[0] for op in audit["float_ops"]} == {"CAST", "QUANTIZE"}
    assert not any("was asked for" in note for note in made["int8-uint8"]["notes"])
    assert made["float32"]["accuracy"]["top1"]["value"] is not None


@pytest.mark.slow
def test_folders(models: Path, images: Path, run: Command, check: Command) -> None:
    """(what is done to the class folders, what stands in the recipe, what check says of the samples)"""

    def written(data: Path, *wanted: str) -> str:
        ended = run("init", models / "tiny.keras", "--data", data, "--force")
        assert ended.code == 0, ended.err
        text = Path("recipe.yaml").read_text(encoding="utf-8")
        assert all(part in text for part in wanted), text
        ended = check("recipe.yaml")
        assert ended.code == 0, ended.err
        return ended.out

    (images / ".hidden").mkdir()
    (images / ".hidden" / "x.png").write_bytes(b"no image")
    (images / "ab ü").mkdir()
    said = written(images, 'classes: ["a", "ab ü", "b", "c"]', "select: stratified")
    assert "6 for calibration, 6 for evaluation, labelled" in said
    (images / "ab ü").rmdir()
    parts = images.parent / "parts"
    shutil.copytree(images, parts / "copy")
    (parts / "train").symlink_to(parts / "copy", target_is_directory=True)
    (parts / "train" / "circle").symlink_to(parts / "train", target_is_directory=True)
    (parts / "Test").symlink_to(images, target_is_directory=True)
    said = written(parts, 'calibration: {path: "parts/train", samples: 12', 'evaluation: {path: "parts/Test"}')
    assert "12 for calibration, 12 for evaluation, labelled" in said
    Image.new("L", (8, 8)).save(images / "beside.png")
    said = written(images, "labels: none", "select: random")
    assert "6 for calibration, 7 for evaluation, not labelled" in said


@pytest.mark.slow
def test_stacked_npz_with_more_than_the_inputs(models: Path, run: Command, check: Command) -> None:
    """Arrays beside the input's, of the same length or another: keys say which is meant."""
    x = np.zeros((10, 8, 8, 1), np.float32)
    np.savez("all.npz", x=x, y=np.arange(10), seed=np.arange(3))
    assert run("init", models / "tiny.keras", "--data", "all.npz").code == 0
    assert '{type: npz, keys: {image: "x"}}' in Path("recipe.yaml").read_text(encoding="utf-8")
    ended = check("recipe.yaml")
    assert ended.code == 0 and "5 for calibration, 5 for evaluation" in ended.out, ended.err
    np.savez("pairs.npz", p=np.zeros((10, 8, 8, 3)), q=np.ones((10, 8, 8, 3)))
    assert run("init", models / "pair.keras", "--data", "pairs.npz", "--force").code == 0
    text = Path("recipe.yaml").read_text(encoding="utf-8")
    assert 'keys: {left: "p", right: "q"}' in text and "# FILL IN: arrays of the same shape" in text
    assert check("recipe.yaml").code == 0
