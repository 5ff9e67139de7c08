"""A variant made another way: its float file prepared, quantized, and its biases corrected."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from tflite_ptq.errors import ConversionError, MeasurementError, WorkerCrash
from tflite_ptq.observer import Observer
from tflite_ptq.recipe.dataset import Dataset, RangeMethod
from tflite_ptq.recipe.schema import Variant, Weights
from tflite_ptq.result import TensorInfo
from tflite_ptq.worker.calibration_messages import Correct, Corrected, Prepare, Prepared
from tflite_ptq.worker.children import Children
from tflite_ptq.worker.messages import Converted, Quantize

BiasMethods = tuple[Literal["one-pass", "sequential"], ...]
BIAS_METHODS: dict[str, BiasMethods] = {
    "none": (),
    "one-pass": ("one-pass",),
    "sequential": ("sequential",),
    "auto": ("sequential", "one-pass"),
}
ITS_OWN = (ConversionError, MeasurementError, WorkerCrash)
"""What costs an attempt and not the run."""


@dataclass(frozen=True)
class FloatFiles:
    """Float files with ranges by each method, and the one that computes the same but for rounding; what was done."""

    prepared: Prepared
    ranged: tuple[Path, ...]
    reference: Path


@dataclass(frozen=True)
class Remaking:
    """Makes variants of the float file ``float32`` in scratch files. Samples come from ``dataset``."""

    inputs: tuple[TensorInfo, ...]
    dataset: Dataset
    float32: Path
    children: Children
    observer: Observer
    converting: ThreadPoolExecutor
    _float_files: dict[Hashable, FloatFiles] = field(default_factory=dict)
    """Those that variants share, by what was asked for."""

    def corrects(self, variant: Variant) -> bool:
        """Whether anything is tried for it."""
        return variant.scheme != "float16" and bool(_bias_methods(variant) or variant.weightings)

    def correct(
        self,
        variant: Variant,
        file: Path,
        others: Sequence[Path] = (),
        *,
        reference: Path | None = None,
        in_turn: bool = True,
        judge_only: bool = False,
    ) -> Corrected:
        """What ``Correct`` does with ``file``, against ``float32`` unless told."""
        self.observer.stage(f"correcting {variant.name}", 0, None)
        request = Correct(
            reference=str(reference or self.float32),
            model=str(file),
            others=tuple(map(str, others)),
            in_turn=in_turn,
            judge_only=judge_only,
            methods=_bias_methods(variant),
            inputs=self.inputs,
            dataset=self.dataset,
        )
        return self.children.runtime.ask(request, Corrected, f"correction of {variant.name}")

    def prepare(
        self,
        variant: Variant,
        weights: Weights,
        methods: tuple[RangeMethod | None, ...],
        *,
        ranged: Path | None = None,
    ) -> FloatFiles:
        """What ``Prepare`` does; once for all variants whose weights lie on the same grid."""
        grid = () if weights.plain else (variant.per_channel, variant.per_channel_dense, variant.exclude)
        key = (weights, methods, ranged, grid)
        if key not in self._float_files:
            name = f"float{len(self._float_files)}"
            targets = tuple(self._scratch(f"{name}-{number}") for number in range(len(methods)))
            reference = self._scratch(f"{name}-reference")
            request = Prepare(
                model=str(self.float32),
                variant=variant,
                weights=weights,
                methods=methods,
                ranged=None if ranged is None else str(ranged),
                targets=tuple(map(str, targets)),
                reference=str(reference),
                inputs=self.inputs,
                dataset=self.dataset,
            )
            stage = f"preparing {'ranges' if weights.plain else 'weights'} of {variant.name}"
            prepared = self.children.runtime.ask(
                request, Prepared, stage, lambda done, total: self.observer.stage(stage, done, total)
            )
            self._float_files[key] = FloatFiles(prepared, targets, reference)
        return self._float_files[key]

    def quantize(self, variant: Variant, calibrated: Path, part: str) -> Path:
        """A prepared file quantized."""
        file = self._scratch(f"{variant.name}.{part}")
        request = Quantize(calibrated=str(calibrated), variant=variant, target=str(file))
        # The converter answers one thread only.
        self.converting.submit(
            self.children.converter.ask, request, Converted, f"conversion of {variant.name}"
        ).result()
        return file

    def _scratch(self, name: str) -> Path:
        return self.children.work / f"{name}.tflite"


def _bias_methods(variant: Variant) -> BiasMethods:
    # The error that reaches a layer is not known in advance where activations are quantized at run time.
    return tuple(m for m in BIAS_METHODS[variant.correction] if variant.needs_calibration or m == "one-pass")
