"""Decoding and preprocessing of images, against Pillow and the formulas."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from written_steps import steps

from tflite_ptq.data.decode import decode, decode_image
from tflite_ptq.data.index import SampleRef
from tflite_ptq.data.preprocess import preprocess
from tflite_ptq.data.reader import BadSample
from tflite_ptq.errors import DataError
from tflite_ptq.recipe.dataset import ImageFormat

RAMP = np.arange(4 * 6 * 3, dtype=np.uint8).reshape(4, 6, 3)


def ref(file: Path) -> SampleRef:
    return SampleRef(file=file, index=None, root=file.parent, label=None)


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (lambda: Image.new("L", (2, 2), 77), (77, 77, 77)),
        (lambda: Image.new("RGBA", (2, 2), (9, 8, 7, 0)), (9, 8, 7)),
        (lambda: Image.new("LA", (2, 2), (50, 3)), (50, 50, 50)),
        (lambda: Image.new("1", (2, 2), 1), (255, 255, 255)),
        (lambda: Image.new("RGB", (2, 2), (200, 100, 0)).quantize(4), (200, 100, 0)),
        (lambda: Image.fromarray(np.full((2, 2), 0x80FF, np.uint16)), (128, 128, 128)),
    ],
    ids=["gray", "alpha", "gray-alpha", "bilevel", "palette", "16-bit"],
)
def test_every_mode_becomes_rgb(tmp_path, make, expected):
    make().save(tmp_path / "x.png")
    pixels = decode(ref(tmp_path / "x.png"), ImageFormat(type="image"))[""]
    assert pixels.dtype == np.uint8
    assert pixels.shape == (2, 2, 3)
    assert tuple(pixels[0, 0]) == expected


def test_exif_orientation_turns_the_image(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was held so that the image must be turned 90 degrees clockwise
    Image.fromarray(RAMP).save(tmp_path / "x.png", exif=exif)
    np.testing.assert_array_equal(np.asarray(decode_image(tmp_path / "x.png")), np.rot90(RAMP, -1))


@pytest.mark.parametrize("keep", [0, 10, 400])
def test_a_broken_image_is_named(tmp_path, keep):
    file = tmp_path / "x.jpg"
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)).save(file)
    file.write_bytes(file.read_bytes()[:keep])
    with pytest.raises(BadSample, match=rf"^{file}: "):
        decode_image(file)


@pytest.mark.parametrize(
    ("blocks", "expected"),
    [
        ([], RAMP),
        ([{"color": "bgr"}], RAMP[:, :, ::-1]),
        ([{"center_crop": [2, 2]}], RAMP[1:3, 2:4]),
        ([{"normalize": "raw"}], RAMP.astype(np.float32)),
        ([{"normalize": "0..1"}], RAMP / 255),
        ([{"normalize": "-1..1"}], RAMP / 127.5 - 1),
        ([{"normalize": "torch"}], (RAMP / 255 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]),
        ([{"normalize": "caffe"}], RAMP[:, :, ::-1] - np.array([103.939, 116.779, 123.68])),
        ([{"color": "bgr"}, {"normalize": "caffe"}], RAMP[:, :, ::-1] - np.array([103.939, 116.779, 123.68])),
        ([{"normalize": {"mean": 2, "std": [1, 2, 4]}}], (RAMP - 2.0) / [1, 2, 4]),
    ],
)
def test_steps_against_the_formula(blocks, expected):
    for value in (RAMP, Image.fromarray(RAMP)):
        got = preprocess(value, steps(*blocks))
        assert got.dtype == (np.float32 if any("normalize" in b for b in blocks) else np.uint8)
        np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("how", ["nearest", "bilinear", "bicubic", "lanczos", "box", "hamming"])
def test_stretch_is_pillows_resize(how):
    image = Image.fromarray(RAMP)
    got = preprocess(image, steps({"resize": {"size": [3, 5], "interpolation": how}}))
    np.testing.assert_array_equal(got, np.asarray(image.resize((5, 3), Image.Resampling[how.upper()])))


def test_resize_modes_keep_the_aspect_ratio():
    image = Image.new("RGB", (200, 100), (10, 20, 30))
    assert preprocess(image, steps({"resize": {"size": [50, 50], "mode": "shorter_side"}})).shape == (50, 100, 3)
    fit = preprocess(image, steps({"resize": {"size": [50, 50], "mode": "fit", "pad_value": 9}}))
    assert fit.shape == (50, 50, 3)
    assert (fit[:12] == 9).all()
    assert (fit[37:] == 9).all()
    assert (fit[12:37] == (10, 20, 30)).all()


def test_gray_is_pillows_luma_in_either_channel_order():
    expected = np.asarray(Image.fromarray(RAMP).convert("L"))[:, :, np.newaxis]
    np.testing.assert_array_equal(preprocess(Image.fromarray(RAMP), steps({"color": "gray"})), expected)
    np.testing.assert_array_equal(preprocess(RAMP, steps({"color": "bgr"}, {"color": "gray"})), expected)


@pytest.mark.parametrize(
    ("blocks", "message"),
    [
        ([{"center_crop": [9, 9]}], r"center_crop \[9, 9\] is larger than the image, which is \[4, 6\]; put a resize"),
        ([{"normalize": {"mean": [1, 2], "std": 1}}], r"normalize.mean has 2 numbers, the values have 3 channels"),
        ([{"color": "bgr"}, {"normalize": "torch"}], r"torch is for RGB, got BGR"),
        ([{"color": "gray"}, {"normalize": "caffe"}], r"normalize: caffe has 3 numbers, the values have 1 channels"),
    ],
)
def test_steps_that_do_not_fit(blocks, message):
    with pytest.raises(DataError, match=message):
        preprocess(Image.fromarray(RAMP), steps(*blocks))
