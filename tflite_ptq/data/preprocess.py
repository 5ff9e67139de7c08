"""The recipe's preprocessing steps, in the order written. Pure: pixels in, pixels out.

A uint8 image stays a Pillow image as long as Pillow can work on it, which saves the copies between the two.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tflite_ptq.data.placement import scaled_size
from tflite_ptq.data.stored import Array, stacked
from tflite_ptq.errors import DataError
from tflite_ptq.recipe.dataset import MeanStd, Normalize, Resize, Step

_FILTERS = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
    "box": Image.Resampling.BOX,
    "hamming": Image.Resampling.HAMMING,
}
_TORCH_MEAN = (0.485, 0.456, 0.406)
_TORCH_STD = (0.229, 0.224, 0.225)
_CAFFE_MEAN_BGR = (103.939, 116.779, 123.68)
_LUMA = (0.299, 0.587, 0.114)  # ITU-R 601-2, as Pillow's convert("L")

Order = Literal["rgb", "bgr", "gray"]


@dataclass(frozen=True)
class _Picture:
    pixels: Image.Image | Array  # (H, W, C); Pillow only for uint8
    order: Order

    def array(self) -> Array:
        """The pixels as ``(H, W, C)``."""
        if not isinstance(self.pixels, Image.Image):
            return self.pixels
        array = np.asarray(self.pixels)
        return array[:, :, np.newaxis] if array.ndim == 2 else array

    @property
    def size(self) -> tuple[int, int]:
        """Height and width."""
        if isinstance(self.pixels, Image.Image):
            return self.pixels.height, self.pixels.width
        return self.pixels.shape[0], self.pixels.shape[1]


def preprocess(value: Image.Image | Array, steps: Sequence[Step]) -> Array:
    """Apply ``steps`` to an RGB image (Pillow, or an array ``(H, W, C)``) or, normalize only, to any array.

    Gives float32 from the first normalize on, the dtype it had before. ``caffe`` turns an RGB image into BGR.
    Raises DataError where a step does not fit the values.
    """
    return _followed(_opened(value), steps).array()


def preprocess_all(values: Sequence[Image.Image] | Array, steps: Sequence[Step]) -> Array | None:
    """``preprocess`` of n images, or of n arrays (n, ...): (n, ...); None where the results differ in shape.

    Raises DataError where a step does not fit the values of one of them; ``preprocess`` says which and why.
    """
    if len(values) == 1:
        return preprocess(values[0], steps)[np.newaxis]
    # What normalizes at the end is done on all at once: it looks at no more than the last axis.
    end = len(steps)
    while end and steps[end - 1].normalize is not None:
        end -= 1
    pictures = [_followed(_opened(value), steps[:end]) for value in values]
    stack = stacked([picture.array() for picture in pictures])
    if stack is None:
        return None
    if stack.ndim == 1:  # no axis of channels
        return stacked([_followed(picture, steps[end:]).array() for picture in pictures])
    return _followed(replace(pictures[0], pixels=stack), steps[end:]).array()


def _opened(value: Image.Image | Array) -> _Picture:
    gray = not isinstance(value, Image.Image) and value.ndim == 3 and value.shape[2] == 1
    return _Picture(value, "gray" if gray else "rgb")


def _followed(picture: _Picture, steps: Sequence[Step]) -> _Picture:
    for step in steps:
        if step.normalize is not None:
            picture = _normalize(picture, step.normalize)
            continue
        if not isinstance(picture.pixels, Image.Image) and picture.pixels.ndim != 3:
            raise DataError(
                f"preprocess: resize, center_crop and color need an image of shape (H, W, C), got shape "
                f"{picture.pixels.shape}; remove the step from dataset.preprocess"
            )
        if step.resize is not None:
            picture = _resize(picture, step.resize)
        elif step.center_crop is not None:
            picture = _center_crop(picture, *step.center_crop)
        elif step.color is not None:
            picture = _color(picture, step.color)
    return picture


def _resize(picture: _Picture, resize: Resize) -> _Picture:
    target_h, target_w = resize.size
    inner_h, inner_w = scaled_size(picture.size, resize)
    scaled = _scaled(picture, inner_h, inner_w, resize)
    if resize.mode != "fit":
        return scaled
    inner = scaled.array()
    canvas = np.full((target_h, target_w, inner.shape[2]), resize.pad_value, inner.dtype)
    top, left = (target_h - inner_h) // 2, (target_w - inner_w) // 2
    canvas[top : top + inner_h, left : left + inner_w] = inner
    return replace(picture, pixels=canvas)


def _scaled(picture: _Picture, height: int, width: int, resize: Resize) -> _Picture:
    if picture.size == (height, width):
        return picture
    box, resample = (width, height), _FILTERS[resize.interpolation]
    pixels = picture.pixels
    if not isinstance(pixels, Image.Image) and pixels.dtype == np.uint8 and pixels.shape[2] in (1, 3):
        pixels = Image.fromarray(np.ascontiguousarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels))
    if isinstance(pixels, Image.Image):
        return replace(picture, pixels=pixels.resize(box, resample))
    planes = np.moveaxis(pixels.astype(np.float32), 2, 0)
    scaled = [np.asarray(Image.fromarray(np.ascontiguousarray(plane)).resize(box, resample)) for plane in planes]
    return replace(picture, pixels=np.stack(scaled, axis=2))


def _center_crop(picture: _Picture, target_h: int, target_w: int) -> _Picture:
    height, width = picture.size
    if height < target_h or width < target_w:
        raise DataError(
            f"preprocess: center_crop [{target_h}, {target_w}] is larger than the image, which is [{height}, {width}]; "
            "put a resize before it in dataset.preprocess"
        )
    top, left = (height - target_h) // 2, (width - target_w) // 2
    pixels = picture.pixels
    if isinstance(pixels, Image.Image):
        return replace(picture, pixels=pixels.crop((left, top, left + target_w, top + target_h)))
    return replace(picture, pixels=pixels[top : top + target_h, left : left + target_w])


def _color(picture: _Picture, order: Order) -> _Picture:
    if order == picture.order:
        return picture
    if picture.order == "gray":  # the grey value in all three channels
        return _Picture(np.repeat(picture.array(), 3, axis=2), order)
    if order != "gray":
        return _Picture(_channels(picture, 3, f"color: {order}")[:, :, ::-1], order)
    if isinstance(picture.pixels, Image.Image):
        return _Picture(picture.pixels.convert("L"), order)
    array = _channels(picture, 3, "color: gray")
    rgb = array[:, :, ::-1] if picture.order == "bgr" else array
    if rgb.dtype == np.uint8:
        return _Picture(Image.fromarray(np.ascontiguousarray(rgb)).convert("L"), order)
    luma: NDArray[np.float32] = rgb.astype(np.float32) @ np.array(_LUMA, np.float32)
    return _Picture(luma[:, :, np.newaxis], order)


def _normalize(picture: _Picture, how: Normalize) -> _Picture:
    if how == "torch" and picture.order == "bgr":
        raise DataError("preprocess: normalize: torch is for RGB, got BGR; remove color: bgr or give mean and std")
    if how == "caffe" and picture.order == "rgb":
        _channels(picture, 3, "normalize: caffe")
        picture = _Picture(picture.array()[..., ::-1], "bgr")
    values: NDArray[np.float32] = picture.array().astype(np.float32, order="C")
    if isinstance(how, MeanStd):
        values -= _per_channel(how.mean, values, "normalize.mean")
        values /= _per_channel(how.std, values, "normalize.std")
    elif how == "0..1":
        values /= np.float32(255)
    elif how == "-1..1":
        values /= np.float32(127.5)
        values -= np.float32(1)
    elif how == "torch":
        values /= np.float32(255)
        values -= _per_channel(_TORCH_MEAN, values, "normalize: torch")
        values /= _per_channel(_TORCH_STD, values, "normalize: torch")
    elif how == "caffe":
        values -= _per_channel(_CAFFE_MEAN_BGR, values, "normalize: caffe")
    return replace(picture, pixels=values)


def _per_channel(numbers: tuple[float, ...], values: NDArray[np.float32], what: str) -> NDArray[np.float32]:
    channels = values.shape[-1] if values.ndim else 1
    if len(numbers) not in (1, channels):
        raise DataError(
            f"preprocess: {what} has {len(numbers)} numbers, the values have {channels} channels (shape "
            f"{values.shape}); give one number or one a channel"
        )
    return np.array(numbers if len(numbers) > 1 else numbers[0], np.float32)


def _channels(picture: _Picture, count: int, what: str) -> Array:
    array = picture.array()
    if array.ndim == 0 or array.shape[-1] != count:
        raise DataError(f"preprocess: {what} needs {count} channels, got shape {array.shape}; remove the step")
    return array
