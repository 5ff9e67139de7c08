"""Where the pixels of an image come to lie: what resizing and cropping do to coordinates. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tflite_ptq.recipe.dataset import Resize, Step


@dataclass(frozen=True)
class Placement:
    """New coordinate = ``scale`` * old + ``offset``, in pixels, by axis; ``size`` is the new image's. All (y, x)."""

    scale: tuple[float, float]
    offset: tuple[float, float]
    size: tuple[int, int]


def placement(size: tuple[int, int], steps: Sequence[Step]) -> Placement:
    """What ``steps`` do to an image of ``size`` (height, width)."""
    now = Placement((1.0, 1.0), (0.0, 0.0), size)
    for step in steps:
        if step.resize is not None:
            inner = scaled_size(now.size, step.resize)
            outer = inner if step.resize.mode == "shorter_side" else step.resize.size
            now = _moved(now, inner, (-((outer[0] - inner[0]) // 2), -((outer[1] - inner[1]) // 2)), outer)
        elif step.center_crop is not None:
            cut = ((now.size[0] - step.center_crop[0]) // 2, (now.size[1] - step.center_crop[1]) // 2)
            now = _moved(now, now.size, cut, step.center_crop)
    return now


def scaled_size(size: tuple[int, int], resize: Resize) -> tuple[int, int]:
    """The size that an image of ``size`` is scaled to, before ``fit`` pads it. All (height, width)."""
    (height, width), (target_h, target_w) = size, resize.size
    if resize.mode == "stretch":
        return target_h, target_w
    ratios = (target_h / height, target_w / width)
    if resize.mode == "shorter_side":  # both sides cover the target, the tighter one exactly
        ratio = max(ratios)
        return max(target_h, round(height * ratio)), max(target_w, round(width * ratio))
    ratio = min(ratios)
    return max(1, min(target_h, round(height * ratio))), max(1, min(target_w, round(width * ratio)))


def _moved(now: Placement, scaled: tuple[int, int], cut: tuple[int, int], size: tuple[int, int]) -> Placement:
    """``now``, scaled to ``scaled`` and then cut (negative: padded) at its top and left."""
    ratio = (scaled[0] / now.size[0], scaled[1] / now.size[1])
    return Placement(
        (now.scale[0] * ratio[0], now.scale[1] * ratio[1]),
        (now.offset[0] * ratio[0] - cut[0], now.offset[1] * ratio[1] - cut[1]),
        size,
    )
