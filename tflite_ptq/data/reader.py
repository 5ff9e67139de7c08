"""From a sample to what the model takes: decoded, preprocessed, checked and keyed by input name."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Literal, Protocol, get_args

from PIL import Image

from tflite_ptq.data.bad_sample import BadSample
from tflite_ptq.data.decode import decode_image
from tflite_ptq.data.fit import fit
from tflite_ptq.data.index import SampleRef
from tflite_ptq.data.neighbours import decode_all
from tflite_ptq.data.piece import Piece, one_by_one
from tflite_ptq.data.preprocess import preprocess_all
from tflite_ptq.data.stored import Array
from tflite_ptq.errors import DataError
from tflite_ptq.recipe.dataset import Dataset, Dtype, ImageFormat, NpzFormat
from tflite_ptq.recipe.labels import KeyLabels

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
        samples = self._together([ref])
        assert samples is not None, "one sample differs from no other"
        return {name: values[0] for name, values in samples.items()}

    def pieces(self, refs: Sequence[SampleRef]) -> Iterator[Piece]:
        """``read`` of each of ``refs``, in order, as many stacked as go together; faults are given, not raised."""
        try:
            samples = self._together(refs)
        except DataError:  # one of them is bad: which one is seen one by one
            samples = None
        if samples is None:
            yield from one_by_one(self.read, refs)
        else:
            yield Piece(len(refs), samples)

    def _together(self, refs: Sequence[SampleRef]) -> dict[str, Array] | None:
        """The inputs of n samples by name, each (n, 1, ...); None where the samples differ in shape.

        Raises BadSample where one is bad; the message is right where n is 1.
        """
        place = refs[0].place
        if isinstance(self._format, ImageFormat):
            spec = self._specs[0]
            pixels = self._preprocessed([decode_image(ref.file) for ref in refs], place)
            return None if pixels is None else {spec.name: self._fit(pixels, spec, place)}
        arrays = decode_all(refs, self._format)
        if arrays is None:
            return None
        inputs: dict[str, Array] = {}
        for spec in self._specs:
            array: Array | None = arrays[""] if "" in arrays else arrays[self._key(spec.name, arrays, refs[0])]
            assert array is not None
            if self._steps:
                if array.dtype.kind not in "biuf":
                    raise BadSample(
                        f"{place}: input '{spec.name}': expected numbers, got {array.dtype.name}; write the file again"
                    )
                array = self._preprocessed(array, place)
            if array is None:
                return None
            inputs[spec.name] = self._fit(array, spec, place)
        return inputs

    def _fit(self, stack: Array, spec: TensorSpec, place: str) -> Array:
        return fit(stack, spec.name, spec.shape, spec.dtype, place, self._format)

    def _preprocessed(self, values: Sequence[Image.Image] | Array, place: str) -> Array | None:
        try:
            return preprocess_all(values, self._steps)
        except DataError as error:  # an image too small, say: this sample's fault
            raise BadSample(f"{place}: {error}") from error

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
    *,
    part: bool = False,
) -> Iterator[tuple[SampleRef, dict[str, Array]]]:
    """Samples in order, one in memory at a time.

    A bad sample stops the stream (raises BadSample), or is told to ``skipped`` with its message and passed over.
    Raises DataError where every sample was passed over, unless they are ``part`` of those that there are.
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
    if faults and not good and not part:
        raise DataError(f"all {faults} samples were skipped as bad, none is left; the first: {first_fault}")
