"""Small pictures of samples, for reports."""

from __future__ import annotations

import base64
import io
from pathlib import Path

from PIL import Image

from tflite_ptq.data.decode import decode_image

_SIDE_PX = 96
_COLOURS = 128
"""A palette halves the size, and a thumbnail shows no difference."""


def thumbnail(file: Path) -> str:
    """The image in ``file``, at most 96 pixels a side, as the data URI of a PNG. Raises ``BadSample``."""
    image = decode_image(file)
    image.thumbnail((_SIDE_PX, _SIDE_PX), Image.Resampling.LANCZOS)
    stream = io.BytesIO()
    image.quantize(_COLOURS).save(stream, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(stream.getvalue()).decode("ascii")
