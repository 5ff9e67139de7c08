"""The error of one sample, which ``on_bad_sample: skip`` may pass over."""

from __future__ import annotations

from tflite_ptq.errors import DataError


class BadSample(DataError):
    """One sample cannot be used; the others may be fine."""
