"""From a sample to what the model takes: decoded, preprocessed, checked and keyed by input name."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Literal, Protocol, get_args

from PIL import Image

from tflite_ptq.data.bad_sample import BadSample
from tflite_ptq.data.decode import decode, decode_image
from tflite_ptq.data.fit import fit
from tflite_ptq.data.index import SampleRef
from tflite_ptq.data.preprocess import preprocess
from tflite_ptq.data.stored import Array
from tflite_ptq.errors import DataError
from tflite_ptq.recipe.dataset import Dataset, Dtype, ImageFormat, KeyLabels, NpzFormat

__all__ = ["BadSample", "Reader", "TensorSpec", "stream"]


class TensorSpec(Protocol):
    """One input of the float model."""

    @property
    def name(self) -> str:
        """The name that samples are keyed by."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Including the batch dimension; -1 where it is open."""

    @property
    def dtype(self) -> str:
        """A numpy name: ``float32``."""


class Reader:
    """Reads samples of ``dataset`` for a model with the inputs ``specs``. Holds no state: threads may share it."""

    def __init__(self, dataset: Dataset, specs: Sequence[TensorSpec]) -> None:
        """Raises DataError where format, preprocessing and inputs cannot go together."""
        self._format = dataset.format
        self._steps = dataset.preprocess
        self._specs = tuple(specs)
        subsets = (dataset.calibration, dataset.evaluation)
        self._label_keys = {s.labels.key for s in subsets if s is not None and isinstance(s.labels, KeyLabels)}
        self._check()

    def _check(self) -> None:
        kind = self._format.type
        for spec in self._specs:
            if spec.dtype not in get_args(Dtype):
                raise DataError(
                    f"dataset: input '{spec.name}' takes {spec.dtype}, samples hold numbers; export the model with "
                    "numeric inputs (preprocessing of text outside of it)"
                )
        names = [spec.name for spec in self._specs]
        if kind != "npz" and len(names) != 1:
            raise DataError(
                f"dataset.format: type {kind} feeds one input, the model has {len(names)} ({', '.join(names)}); use "
                "type npz with arrays named after the inputs, or map them with keys"
            )
        if isinstance(self._format, NpzFormat):
            for unknown in sorted(set(self._format.keys) - set(names)):
                raise DataError(
                    f"dataset.format.keys: '{unknown}' is not an input of the model; its inputs: {', '.join(names)}"
                )
        if kind != "image" and any(step.normalize is None for step in self._steps):
            raise DataError(
                f"dataset.preprocess: resize, center_crop and color are for images, the format is {kind}; remove them "
                "or store the samples as the model takes them"
            )

    def read(self, ref: SampleRef) -> dict[str, Array]:
        """The model's inputs by name, each ``(1, ...)``, C-contiguous, in the input's dtype.

        Raises BadSample: unreadable, of the wrong shape or dtype, NaN or infinity.
        """
        if isinstance(self._format, ImageFormat):
            spec = self._specs[0]
            pixels = self._preprocessed(decode_image(ref.file), ref)
            return {spec.name: fit(pixels, spec.name, spec.shape, spec.dtype, ref.place, self._format)}
        arrays = decode(ref, self._format)
        inputs: dict[str, Array] = {}
        for spec in self._specs:
            array = arrays[""] if "" in arrays else arrays[self._key(spec.name, arrays, ref)]
            if self._steps:
                if array.dtype.kind not in "biuf":
                    raise BadSample(
                        f"{ref.place}: input '{spec.name}': expected numbers, got {array.dtype.name}; write the file "
                        "again"
                    )
                array = self._preprocessed(array, ref)
            inputs[spec.name] = fit(array, spec.name, spec.shape, spec.dtype, ref.place, self._format)
        return inputs

    def _preprocessed(self, value: Image.Image | Array, ref: SampleRef) -> Array:
        try:
            return preprocess(value, self._steps)
        except DataError as error:  # an image too small, say: this sample's fault
            raise BadSample(f"{ref.place}: {error}") from error

    def _key(self, name: str, arrays: dict[str, Array], ref: SampleRef) -> str:
        if not isinstance(self._format, NpzFormat):
            return ""
        wanted = self._format.keys.get(name, name)
        if wanted in arrays:
            return wanted
        free = [key for key in arrays if key not in self._label_keys]
        if len(self._specs) == 1 and len(free) == 1 and name not in self._format.keys:
            return free[0]
        raise BadSample(
            f"{ref.place}: no array '{wanted}' for input '{name}'; name it under dataset.format.keys as "
            f"{{{name}: <array>}}; arrays in the file: {', '.join(arrays)}"
        )


def stream(
    reader: Reader,
    refs: Iterable[SampleRef],
    on_bad: Literal["stop", "skip"],
    skipped: Callable[[SampleRef, str], None],
) -> Iterator[tuple[SampleRef, dict[str, Array]]]:
    """Samples in order, one in memory at a time.

    A bad sample stops the stream (raises BadSample), or is told to ``skipped`` with its message and passed over.
    Raises DataError where every sample was passed over.
    """
    good, first_fault, faults = 0, "", 0
    for ref in refs:
        try:
            inputs = reader.read(ref)
        except BadSample as error:
            if on_bad == "stop":
                raise
            faults += 1
            first_fault = first_fault or str(error)
            skipped(ref, str(error))
            continue
        good += 1
        yield ref, inputs
    if faults and not good:
        raise DataError(f"all {faults} samples were skipped as bad, none is left; the first: {first_fault}")
