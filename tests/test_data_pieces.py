"""Samples read together are what they are one by one, whatever their format; a bad one is told from its neighbours."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tflite_ptq.data.index import SampleRef, index
from tflite_ptq.data.piece import Piece, one_by_one
from tflite_ptq.data.reader import Reader
from tflite_ptq.errors import DataError
from tflite_ptq.recipe.dataset import Dataset

RNG = np.random.default_rng(7)


@dataclass(frozen=True)
class Spec:
    name: str
    shape: tuple[int, ...]
    dtype: str = "float32"


def refs_and_reader(folder: Path, **dataset: object) -> tuple[Sequence[SampleRef], Reader]:
    shape = dataset.pop("shape")
    made = Dataset.model_validate(dataset)
    return index(folder, made.format, "dataset.evaluation").refs, Reader(made, [Spec("x", shape)])  # type: ignore[arg-type]


def raw_files(folder: Path) -> dict[str, object]:
    for number in range(9):
        RNG.integers(-99, 99, 6).astype(">i2").tofile(folder / f"{number}.bin")
    fmt = {"type": "raw", "dtype": "int16", "byte_order": "big", "shape": [2, 3], "scale": 0.5, "zero_point": 3}
    return {"format": fmt, "preprocess": [{"normalize": {"mean": [1, 2, 3], "std": [2]}}], "shape": (-1, 2, 3)}


def recording(folder: Path) -> dict[str, object]:
    RNG.normal(size=40).astype("<f4").tofile(folder / "long.bin")
    return {"format": {"type": "raw", "dtype": "float32", "shape": [6], "stride": 4}, "shape": (1, 6)}


def stacked_npy(folder: Path) -> dict[str, object]:
    np.save(folder / "a.npy", np.asfortranarray(RNG.normal(size=(8, 3, 2))))
    return {"format": {"type": "npy", "shape": [2, 2], "stride": 3}, "shape": (1, 2, 2)}


def npy_files(folder: Path) -> dict[str, object]:
    for number in range(5):
        np.save(folder / f"{number}.npy", RNG.integers(0, 9, (1, 4)))
    return {"format": {"type": "npy"}, "shape": (1, 4)}


def images(folder: Path) -> dict[str, object]:
    for number, size in enumerate([(8, 6), (8, 6), (5, 9), (8, 6)]):
        Image.fromarray(RNG.integers(0, 256, (*size, 3), np.uint8)).save(folder / f"{number}.png")
    resized = {"resize": {"size": [7, 7], "mode": "stretch"}}
    return {"format": {"type": "image"}, "preprocess": [resized, {"normalize": "torch"}], "shape": (1, 7, 7, 3)}


def images_of_many_sizes(folder: Path) -> dict[str, object]:
    return {**images(folder), "preprocess": [{"normalize": "caffe"}], "shape": (1, -1, -1, 3)}


def joined(pieces: Sequence[Piece]) -> list[Mapping[str, np.ndarray]]:
    assert all(piece.fault is None for piece in pieces)
    return [{name: v[i] for name, v in piece.samples.items()} for piece in pieces for i in range(piece.count)]


@pytest.mark.parametrize(
    ("make", "stacks"),
    [
        (raw_files, [9]),
        (recording, [9]),
        (stacked_npy, [15]),
        (npy_files, [5]),
        (images, [4]),
        (images_of_many_sizes, [2, 1, 1]),
    ],
)
def test_together_as_one_by_one(make, stacks: list[int], tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    refs, reader = refs_and_reader(tmp_path, **make(tmp_path))
    pieces = list(reader.pieces(refs))
    assert [piece.count for piece in pieces] == stacks
    for ref, sample in zip(refs, joined(pieces), strict=True):
        alone = reader.read(ref)
        assert sample["x"].dtype == alone["x"].dtype == np.float32
        np.testing.assert_array_equal(sample["x"], alone["x"])


def test_values_by_hand(tmp_path: Path) -> None:
    refs, reader = refs_and_reader(tmp_path, **raw_files(tmp_path))
    stored = np.stack([np.fromfile(ref.file, ">i2") for ref in refs]).reshape(9, 1, 2, 3).astype(np.float32)
    (piece,) = reader.pieces(refs)
    np.testing.assert_allclose(piece.samples["x"], ((stored - 3) * 0.5 - [1, 2, 3]) / 2, rtol=1e-6)


@pytest.mark.parametrize("bad", [b"", b"123", b"much longer than a sample"])
def test_a_bad_sample_is_told_from_its_neighbours(bad: bytes, tmp_path: Path) -> None:
    made = raw_files(tmp_path)
    (tmp_path / "4.bin").write_bytes(bad)
    refs, reader = refs_and_reader(tmp_path, **made)
    pieces = list(reader.pieces(refs))
    assert [(piece.count, piece.fault is None) for piece in pieces] == [(4, True), (1, False), (4, True)]
    with pytest.raises(DataError) as alone:
        reader.read(refs[4])
    assert str(pieces[1].fault) == str(alone.value)
    np.testing.assert_array_equal(pieces[2].samples["x"][0], reader.read(refs[5])["x"])


def test_nan_in_one_of_many(tmp_path: Path) -> None:
    for number in range(4):
        np.save(tmp_path / f"{number}.npy", np.array([1, np.nan if number == 2 else 0], np.float32))
    refs, reader = refs_and_reader(tmp_path, format={"type": "npy"}, shape=(1, 2))
    faults = [str(piece.fault) for piece in reader.pieces(refs) if piece.fault]
    assert [fault.partition(";")[0] for fault in faults] == [
        f"{refs[2].file}: input 'x': 1 of 2 values are not finite (1 NaN, 0 infinity in float32)"
    ]


def test_stacks_end_where_shapes_change() -> None:
    shapes = {"a": (1, 2), "b": (1, 2), "c": (1, 3)}
    refs = [SampleRef(Path(name), None, None, Path()) for name in ("a", "b", "c", "a")]
    pieces = list(one_by_one(lambda ref: {"x": np.zeros(shapes[str(ref.file)])}, refs))
    assert [piece.samples["x"].shape for piece in pieces] == [(2, 1, 2), (1, 1, 3), (1, 1, 2)]
