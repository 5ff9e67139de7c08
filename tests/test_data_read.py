"""Stored values and the reader, against numpy and hand calculations."""

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tflite_ptq.data.index import SampleRef, index
from tflite_ptq.data.reader import BadSample, Reader, stream
from tflite_ptq.errors import DataError
from tflite_ptq.recipe.dataset import Dataset

REAL = Path(os.environ.get("TFLITE_PTQ_REAL_DATA", "../shared/data"))
RAMP = np.arange(4 * 6 * 3, dtype=np.uint8).reshape(4, 6, 3)


@dataclass(frozen=True)
class Spec:
    name: str
    shape: tuple[int, ...]
    dtype: str = "float32"


def reader(fmt: dict, *specs: Spec, preprocess: tuple = ()) -> Reader:
    return Reader(Dataset.model_validate({"format": fmt, "preprocess": preprocess}), specs)


def ref(file: Path, position: int | None = None) -> SampleRef:
    return SampleRef(file=file, index=position, root=file.parent, label=None)


@pytest.mark.parametrize(
    ("dtype", "order", "scale", "zero", "bytes_", "expected"),
    [
        ("int8", "little", 0.5, 83, bytes([0, 255, 128]), [-41.5, -42.0, -105.5]),
        ("int16", "little", None, None, bytes([1, 0, 0, 1, 255, 255]), [1, 256, -1]),
        ("int16", "big", None, None, bytes([1, 0, 0, 1, 255, 255]), [256, 1, -1]),
        ("int32", "big", 2.0, 1, bytes([0, 0, 0, 3] * 3), [4.0, 4.0, 4.0]),
    ],
)
def test_raw_values_by_hand(tmp_path, dtype, order, scale, zero, bytes_, expected):
    (tmp_path / "x.bin").write_bytes(bytes_)
    fmt = {"type": "raw", "dtype": dtype, "shape": [3], "byte_order": order, "scale": scale, "zero_point": zero}
    got = reader(fmt, Spec("x", (1, 3))).read(ref(tmp_path / "x.bin"))["x"]
    assert got.dtype == np.float32
    np.testing.assert_array_equal(got, [expected])


@pytest.mark.parametrize("kind", ["raw", "npy"])
def test_windows_slide_and_drop_what_is_left_over(tmp_path, kind):
    values = np.arange(23, dtype=np.float32)
    file = tmp_path / ("x.bin" if kind == "raw" else "x.npy")
    if kind == "raw":
        values.tofile(file)
    else:
        np.save(file, values)
    fmt = {"type": kind, "shape": [10], "stride": 4, **({"dtype": "float32"} if kind == "raw" else {})}
    refs = index(file, Dataset.model_validate({"format": fmt}).format, "dataset.evaluation").refs
    read = reader(fmt, Spec("x", (1, 10))).read
    np.testing.assert_array_equal(
        np.concatenate([read(r)["x"] for r in refs]), np.lib.stride_tricks.sliding_window_view(values, 10)[::4]
    )


@pytest.mark.parametrize("how", ["npy", "npy-fortran", "npz", "npz-compressed", "npz-fortran", "npy-big-endian"])
def test_stacked_files_give_what_numpy_gives(tmp_path, how):
    values = np.random.default_rng(0).normal(size=(5, 3, 2))
    stored = np.asfortranarray(values) if "fortran" in how else values.astype(">f8") if "big" in how else values
    file = tmp_path / f"x.{how[:3]}"
    if how.startswith("npy"):
        np.save(file, stored)
    else:
        (np.savez_compressed if "compressed" in how else np.savez)(file, x=stored)
    fmt = {"type": how[:3]}
    refs = index(file, Dataset.model_validate({"format": fmt}).format, "dataset.evaluation").refs
    read = reader(fmt, Spec("x", (-1, 3, 2))).read
    with ThreadPoolExecutor(4) as pool:
        got = np.concatenate([sample["x"] for sample in pool.map(read, refs)])
    np.testing.assert_array_equal(got, values.astype(np.float32))


def test_npz_arrays_go_to_inputs_by_name(tmp_path):
    np.savez(tmp_path / "x.npz", a=np.ones((2,), np.int64), other=np.zeros((3,)))
    sample = reader({"type": "npz", "keys": {"b": "other"}}, Spec("b", (1, 3)), Spec("a", (1, 2), "int32")).read(
        ref(tmp_path / "x.npz")
    )
    assert {name: (array.shape, array.dtype.name) for name, array in sample.items()} == {
        "b": ((1, 3), "float32"),
        "a": ((1, 2), "int32"),
    }


IMAGE = {"type": "image"}
NPY = {"type": "npy"}
BAD = [
    (IMAGE, RAMP, Spec("x", (1, 8, 6, 3)), "input 'x': expected shape (8, 6, 3) float32, got (4, 6, 3) uint8; add "
     "{resize: {size: [8, 6]}} to dataset.preprocess"),
    (IMAGE, RAMP, Spec("x", (1, 4, 6, 1)), "input 'x': expected shape (4, 6, 1) float32, got (4, 6, 3) uint8; add "
     "{color: gray} to dataset.preprocess"),
    (NPY, np.zeros((48, 10, 1), "f4"), Spec("x", (1, 49, 10, 1)), "input 'x': expected shape (49, 10, 1) float32, got "
     "(48, 10, 1) float32; store the samples in the model's shape, or give the input another shape under model.inputs"),
    (NPY, np.zeros((4, 2)), Spec("x", (-1, 8)), "input 'x': expected shape (8,) float32, got (4, 2) float64; reshape "
     "the samples to (8,)"),
    (NPY, np.array([1, np.nan, np.inf, 0]), Spec("x", (1, 4)), "input 'x': 2 of 4 values are not finite (1 NaN, 1 "
     "infinity in float32); correct or remove the file, or set dataset.on_bad_sample to skip"),
    (NPY, np.array([1.0, 1e300]), Spec("x", (1, 2)), "input 'x': 1 of 2 values are not finite (0 NaN, 1 infinity in "
     "float32); correct or remove the file, or set dataset.on_bad_sample to skip"),
    (NPY, np.array([1.0, 1.5]), Spec("x", (1, 2), "int32"), "input 'x': expected int32, got float64 with values that "
     "are not whole (1.5); store whole numbers, and drop normalize from dataset.preprocess"),
    (NPY, np.array([1, 300]), Spec("x", (1, 2), "uint8"), "input 'x': expected uint8 (0..255), got values 1..300; "
     "store values in that range"),
    (NPY, np.array(["a", "b"]), Spec("x", (1, 2)), "input 'x': expected float32, got str32; write the sample with a "
     "numeric dtype"),
    (NPY, np.array([{}, {}], object), Spec("x", (1, 2)), "cannot be read: it is no .npy file, or holds "
     "pickled Python objects; write the file again or remove it"),
]  # fmt: skip


@pytest.mark.parametrize(("fmt", "value", "spec", "message"), BAD, ids=[row[3][:60] for row in BAD])
def test_a_sample_that_does_not_fit(tmp_path, fmt, value, spec, message):
    file = tmp_path / ("x.png" if fmt is IMAGE else "x.npy")
    if fmt is IMAGE:
        Image.fromarray(value).save(file)
    else:
        np.save(file, value, allow_pickle=True)
    with pytest.raises(BadSample) as caught:
        reader(fmt, spec).read(ref(file))
    assert str(caught.value) == f"{file}: {message}"


def test_raw_file_of_the_wrong_size(tmp_path):
    (tmp_path / "x.bin").write_bytes(bytes(7))
    with pytest.raises(BadSample, match=r"expected 12 bytes \(float32 of shape \[3\]\), got 7; correct dataset.format"):
        reader({"type": "raw", "dtype": "float32", "shape": [3]}, Spec("x", (1, 3))).read(ref(tmp_path / "x.bin"))


@pytest.mark.parametrize(
    ("fmt", "specs", "message"),
    [
        (
            IMAGE,
            [Spec("a", (1,)), Spec("b", (1,))],
            r"type image feeds one input, the model has 2 \(a, b\); use type npz",
        ),
        (NPY, [Spec("a", (1,), "string")], r"input 'a' takes string, samples hold numbers"),
        ({"type": "npz", "keys": {"z": "y"}}, [Spec("a", (1,))], r"'z' is not an input of the model; its inputs: a"),
    ],
)
def test_inputs_that_the_format_cannot_feed(fmt, specs, message):
    with pytest.raises(DataError, match=message):
        reader(fmt, *specs)


def test_stream_stops_or_skips_and_never_gives_nothing(tmp_path):
    for name, value in (("a", 1.0), ("b", np.nan), ("c", 3.0)):
        np.save(tmp_path / f"{name}.npy", np.array([value]))
    one = reader(NPY, Spec("x", (1, 1)))
    refs = [ref(tmp_path / f"{name}.npy") for name in "abc"]
    told: list[str] = []
    got = [r.name for r, _ in stream(one, refs, "skip", lambda r, why: told.append(f"{r.name}: {why}"))]
    assert got == ["a.npy", "c.npy"]
    assert len(told) == 1
    assert told[0].startswith("b.npy: ")
    with pytest.raises(BadSample, match=r"b\.npy"):
        list(stream(one, refs, "stop", lambda r, why: None))
    with pytest.raises(DataError, match=r"all 1 samples were skipped as bad, none is left; the first: .*NaN"):
        list(stream(one, refs[1:2], "skip", lambda r, why: None))
    assert list(stream(one, refs[1:2], "skip", lambda r, why: None, part=True)) == []


@pytest.mark.skipif(not REAL.is_dir(), reason=f"no real data at {REAL} (TFLITE_PTQ_REAL_DATA)")
def test_the_published_data_reads_as_its_readme_says():
    ad = REAL.resolve() / "mlperf_tiny/ad/normal_id_01_00000000_hist_librosa.bin"
    fmt = {"type": "raw", "dtype": "float32", "shape": [640], "stride": 128}
    refs = index(ad, Dataset.model_validate({"format": fmt}).format, "dataset.evaluation").refs
    assert len(refs) == 196
    whole = np.fromfile(ad, "<f4").reshape(200, 128)
    last = reader(fmt, Spec("x", (1, 640))).read(refs[-1])["x"]
    np.testing.assert_array_equal(last.reshape(5, 128), whole[195:])
    sww = REAL.resolve() / "mlperf_tiny/sww/calibration_samples.npz"
    fmt = {"type": "npz", "keys": {"input": "specs"}}
    assert len(index(sww, Dataset.model_validate({"format": fmt}).format, "dataset.evaluation").refs) == 45
    assert reader(fmt, Spec("input", (1, 30, 1, 40))).read(ref(sww, 44))["input"].shape == (1, 30, 1, 40)
