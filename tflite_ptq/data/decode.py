"""One stored sample to raw arrays: image, ``.npy``, ``.npz`` or headerless values. Nothing is preprocessed here."""

from __future__ import annotations

import math
import struct
import zlib
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from tflite_ptq.data.bad_sample import BadSample
from tflite_ptq.data.index import SampleRef
from tflite_ptq.data.stored import BROKEN, Array, Stored, native, npy_header, npz_headers, unreadable
from tflite_ptq.recipe.dataset import Format, ImageFormat, NpyFormat, NpzFormat, RawFormat

_BROKEN_IMAGE = (OSError, SyntaxError, ValueError, EOFError, IndexError, struct.error, zlib.error)
_IMAGE_FORMATS = ("JPEG", "PNG", "BMP", "WEBP")
_UNIDENTIFIED = "not a JPEG, PNG, BMP or WebP image; write it again or remove it"
_EXIF_ORIENTATION = 0x0112


def decode(ref: SampleRef, fmt: Format) -> dict[str, Array]:
    """The arrays of one sample, without a batch dimension.

    Images, ``.npy`` and raw values come under the key ``""`` (images: uint8 ``(H, W, 3)``, RGB), the arrays of an
    ``.npz`` under their own names. Raises BadSample.
    """
    if isinstance(fmt, ImageFormat):
        return {"": np.asarray(decode_image(ref.file))}
    try:
        if isinstance(fmt, NpyFormat):
            return {"": _npy(ref, fmt)}
        if isinstance(fmt, NpzFormat):
            return _npz(ref)
        return {"": _raw(ref, fmt)}
    except BROKEN as error:
        raise unreadable(ref.file, error) from error


def decode_image(file: Path) -> Image.Image:
    """The first frame in mode RGB, EXIF orientation applied. Raises BadSample.

    An alpha channel is dropped, the colours under it stay as they are stored (as TensorFlow's ``decode_png`` does);
    grey and palette images are spread to RGB; of 16-bit values the upper 8 bits count.
    """
    try:
        with Image.open(file, formats=_IMAGE_FORMATS) as image:
            image.load()
            turned = image.getexif().get(_EXIF_ORIENTATION, 1) != 1
            return _rgb(ImageOps.exif_transpose(image) if turned else image)
    except Image.DecompressionBombError as error:
        raise BadSample(f"{file}: the image is too large to be decoded safely: {error}; scale it down") from error
    except UnidentifiedImageError as error:
        raise BadSample(f"{file}: {_UNIDENTIFIED}") from error
    except _BROKEN_IMAGE as error:
        raise unreadable(file, OSError(str(error)) if isinstance(error, SyntaxError) else error) from error


def image_size(file: Path) -> tuple[int, int]:
    """Height and width as ``decode_image`` gives them, from the file's header. Raises BadSample."""
    try:
        with Image.open(file, formats=_IMAGE_FORMATS) as image:
            turned = image.getexif().get(_EXIF_ORIENTATION, 1) in (5, 6, 7, 8)  # by a quarter
            return (image.width, image.height) if turned else (image.height, image.width)
    except UnidentifiedImageError as error:
        raise BadSample(f"{file}: {_UNIDENTIFIED}") from error
    except _BROKEN_IMAGE as error:
        raise unreadable(file, OSError(str(error)) if isinstance(error, SyntaxError) else error) from error


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode == "RGB":
        return image
    if image.mode.startswith("I"):  # Pillow's own conversion would clip 16-bit values at 255
        image = Image.fromarray((np.asarray(image).astype(np.int64) >> 8).clip(0, 255).astype(np.uint8))
    elif image.mode == "P" and "transparency" in image.info:
        image = image.convert("RGBA")
    return image.convert("RGB")


def _npy(ref: SampleRef, fmt: NpyFormat) -> Array:
    if ref.index is None:
        return native(np.asarray(np.load(ref.file, allow_pickle=False)))
    stored = npy_header(ref.file)
    return stored.sample(ref.index) if fmt.shape is None else _window(stored, ref.index, fmt)


def _npz(ref: SampleRef) -> dict[str, Array]:
    if ref.index is None:
        with np.load(ref.file, allow_pickle=False) as archive:
            return {key: native(archive[key]) for key in archive.files}
    headers = npz_headers(ref.file)
    return {key: s.sample(ref.index) for key, s in headers.items() if s.shape and ref.index < s.shape[0]}


def _raw(ref: SampleRef, fmt: RawFormat) -> Array:
    dtype = stored_dtype(fmt)
    if ref.index is not None:
        return real_values(_window(Stored(ref.file, dtype, (-1,), 0), ref.index, fmt), fmt)
    count = math.prod(fmt.shape)
    expected, got = count * dtype.itemsize, ref.file.stat().st_size
    if got != expected:
        raise BadSample(
            f"{ref.file}: expected {expected} bytes ({fmt.dtype} of shape {list(fmt.shape)}), got {got}; correct "
            "dataset.format (dtype, shape; stride for a long recording) or write the file again"
        )
    return real_values(Stored(ref.file, dtype, fmt.shape, 0).values(0, count).reshape(fmt.shape), fmt)


def stored_dtype(fmt: RawFormat) -> np.dtype[np.generic]:
    """As the values lie in the file."""
    return np.dtype(fmt.dtype).newbyteorder("<" if fmt.byte_order == "little" else ">")


def real_values(stored: Array, fmt: RawFormat) -> Array:
    """What stored values stand for: scale * (stored - zero_point) as float32, or themselves without a scale."""
    if fmt.scale is None:
        return stored
    # in float64: int32 values and a zero point would lose digits in float32 before they are subtracted
    return (fmt.scale * (stored.astype(np.float64) - (fmt.zero_point or 0))).astype(np.float32)


def _window(stored: Stored, position: int, fmt: NpyFormat | RawFormat) -> Array:
    if fmt.shape is None or fmt.stride is None:
        raise BadSample(f"{stored.file}: sample {position} is a window; give dataset.format.shape and stride")
    return stored.values(position * fmt.stride, math.prod(fmt.shape)).reshape(fmt.shape)
