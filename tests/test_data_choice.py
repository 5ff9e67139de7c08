"""Which samples are found, how they are labelled and chosen."""

import os
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from tflite_ptq.data.index import index
from tflite_ptq.data.sampling import choose
from tflite_ptq.data.split import split
from tflite_ptq.errors import DataError
from tflite_ptq.recipe.dataset import Dataset

REAL = Path(os.environ.get("TFLITE_PTQ_REAL_DATA", "../shared/data"))
IMAGE = {"type": "image"}


def touch(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"x")
    return root


def dataset(fmt: dict, **blocks: object) -> Dataset:
    return Dataset.model_validate({"format": fmt, **blocks})


def found(path: Path, fmt: dict) -> list[str]:
    return [ref.name for ref in index(path, dataset(fmt).format, "dataset.evaluation").refs]


def test_order_is_by_name_and_hidden_files_do_not_count(tmp_path):
    touch(tmp_path, "b/2.JPG", "b/1.png", "a/9.webp", ".h/1.png", "a/.x.png", "a/notes.txt")
    assert found(tmp_path, IMAGE) == ["a/9.webp", "b/1.png", "b/2.JPG"]


def test_missing_and_empty_folders(tmp_path):
    with pytest.raises(DataError, match=rf"^{tmp_path}/no: "):
        index(tmp_path / "no", dataset(IMAGE).format, "dataset.evaluation")
    touch(tmp_path, "a.txt", "b.txt")
    with pytest.raises(DataError, match=r"looked for \.jpg, \.jpeg, \.png, \.bmp, \.webp; .*2 other files"):
        index(tmp_path, dataset(IMAGE).format, "dataset.evaluation")


@pytest.mark.parametrize(
    ("select", "count", "expected"),
    [("first", 3, [0, 1, 2]), ("random", 99, list(range(8))), ("first", 8, list(range(8)))],
)
def test_choose_takes_what_there_is(select, count, expected):
    assert choose([0] * 8, count, select, 0) == expected


@pytest.mark.parametrize("count", [1, 3, 10, 57])
def test_seeded_choices(count):
    labels = [0] * 40 + [1] * 40 + [2] * 40
    for select in ("random", "stratified"):
        first = choose(labels, count, select, 7)
        assert first == choose(labels, count, select, 7) == sorted(set(first))
        assert len(first) == count
    taken = Counter(labels[i] for i in choose(labels, count, "stratified", 7))
    assert max(taken.values()) - min(taken.get(c, 0) for c in range(3)) <= 1


def test_stratified_gives_a_rare_class_its_place():
    labels = [0] * 1000 + [1]
    assert 1000 in choose(labels, 10, "stratified", 0)


def test_calibration_and_evaluation_are_disjoint_through_links(tmp_path):
    touch(tmp_path / "real", *(f"{i}.png" for i in range(6)))
    (tmp_path / "link").symlink_to(tmp_path / "real")
    got = split(
        dataset(
            IMAGE,
            calibration={"path": str(tmp_path / "real"), "samples": 4},
            evaluation={"path": str(tmp_path / "link")},
        )
    )
    assert len(got.calibration) == 4
    assert got.left_out == 4
    assert {r.name for r in got.evaluation} | {r.name for r in got.calibration} == {f"{i}.png" for i in range(6)}


def test_nothing_left_to_evaluate(tmp_path):
    touch(tmp_path, "a.png", "b.png")
    block = {"path": str(tmp_path)}
    with pytest.raises(DataError, match=r"all 2 samples .*dataset\.calibration\.samples.*include_calibration"):
        split(dataset(IMAGE, calibration=block, evaluation=block))
    both = split(dataset(IMAGE, calibration=block, evaluation={**block, "include_calibration": True}))
    assert (len(both.calibration), len(both.evaluation), both.left_out) == (2, 2, 0)


def labels_of(path: Path, labels: object, fmt: dict = IMAGE, **more: object) -> list[int | float | None]:
    return [r.label for r in split(dataset(fmt, evaluation={"path": str(path), "labels": labels}, **more)).evaluation]


def test_class_folders(tmp_path):
    touch(tmp_path, "dog/1.png", "cat/1.png")
    assert labels_of(tmp_path, None) == [0, 1]
    assert labels_of(tmp_path, "folders", classes=["dog", "bird", "cat"]) == [2, 0]
    assert labels_of(tmp_path, "none") == [None, None]
    with pytest.raises(DataError, match=r"'dog' is not in dataset\.classes \(cat\)"):
        labels_of(tmp_path, "folders", classes=["cat"])


CSV = [
    ("a.png,3,2\nb.png,3,0\n", {}, [2, 0]),
    ("name,kind\na.png,dog\nb,cat\n", {"file_column": "name", "class_column": "kind"}, [1, 0]),
    ("a.png;1.5\nb.png;2\n", {"delimiter": ";"}, [1.5, 2.0]),
]


@pytest.mark.parametrize(("text", "block", "expected"), CSV)
def test_csv(tmp_path, text, block, expected):
    touch(tmp_path / "x", "a.png", "b.png")
    (tmp_path / "y.csv").write_text(text)
    classes = {"classes": ["cat", "dog"]} if "dog" in text else {}
    assert labels_of(tmp_path / "x", {"csv": str(tmp_path / "y.csv"), **block}, **classes) == expected


BAD_CSV = [
    ("a.png,0\nb.png,1\nno.png,1\n", None, r"y\.csv:3: 1 row names a file that does not exist: 'no\.png'; correct the"),
    ("a.png,0\n", None, r"y\.csv: 1 of 2 samples have no label: 'b\.png'; add their rows"),
    ("a.png,0\nb.png,2\n", ["p", "q"], r"y\.csv:2: class 2 is out of range 0\.\.1 of dataset\.classes"),
    (
        "a.png,0\nb.png,cat\n",
        None,
        r"y\.csv:2: class 'cat' is not a number; list the class names under dataset\.classes",
    ),
    ("a.png,0\nb.png,nan\n", None, r"y\.csv:2: class 'nan' is not finite"),
    ("a.png,0\nb.png,1\na.png,1\n", None, r"y\.csv:3: 'a\.png' has class 1 here and 0 on line 1; keep one"),
    ("file,class\na.png,0\nb.png,1\n", None, r"if line 1 is a header, set labels\.header to true"),
    ("", None, r"y\.csv: holds no labels"),
]


@pytest.mark.parametrize(("text", "classes", "message"), BAD_CSV)
def test_bad_csv(tmp_path, text, classes, message):
    touch(tmp_path / "x", "a.png", "b.png")
    (tmp_path / "y.csv").write_text(text)
    with pytest.raises(DataError, match=message):
        labels_of(tmp_path / "x", str(tmp_path / "y.csv"), classes=classes)


def test_npy_and_npz_labels(tmp_path):
    np.savez(tmp_path / "s.npz", x=np.zeros((3, 2)), y=np.array([2.0, 0.0, 1.0]))
    assert labels_of(tmp_path / "s.npz", {"key": "y"}, {"type": "npz"}) == [2, 0, 1]
    np.save(tmp_path / "l.npy", np.array([0.5, 1.5, 2.0]))
    assert labels_of(tmp_path / "s.npz", str(tmp_path / "l.npy"), {"type": "npz"}) == [0.5, 1.5, 2.0]
    np.save(tmp_path / "short.npy", np.array([1, 2]))
    with pytest.raises(DataError, match=r"short\.npy: 3 labels .* got shape \(2,\)"):
        labels_of(tmp_path / "s.npz", str(tmp_path / "short.npy"), {"type": "npz"})
    with pytest.raises(DataError, match=r"no array 'z'"):
        labels_of(tmp_path / "s.npz", {"key": "z"}, {"type": "npz"})


def test_stratified_needs_labels(tmp_path):
    touch(tmp_path, "a.png", "b.png")
    with pytest.raises(DataError, match="stratified needs"):
        split(dataset(IMAGE, calibration={"path": str(tmp_path), "samples": 1, "select": "stratified"}))


@pytest.mark.skipif(not REAL.is_dir(), reason=f"no real data at {REAL} (TFLITE_PTQ_REAL_DATA)")
def test_the_keyword_samples():
    folder = REAL.resolve() / "mlperf_tiny/kws/features"
    block = {"path": str(folder), "labels": str(folder / "y_labels.csv")}
    got = split(
        dataset(
            {"type": "raw", "dtype": "int8", "shape": [49, 10, 1]},
            calibration={**block, "samples": 100, "select": "stratified"},
            evaluation=block,
        )
    )
    assert (len(got.calibration), len(got.evaluation), got.left_out) == (100, 900, 100)
    assert {r.label for r in got.calibration} == set(range(12))
    assert all(r.name.removesuffix(".bin").endswith(f"_{r.label}") for r in got.evaluation)  # the name holds the class
