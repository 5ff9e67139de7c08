"""Do no harm: corrections are tried on samples that were held back, and only those that help are kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Literal

import numpy as np

from tflite_ptq.model.editing import Editable
from tflite_ptq.model.open_shapes import learn_shapes
from tflite_ptq.quantize.correction.apply import add_to_bias
from tflite_ptq.quantize.correction.bias import one_pass, sequential
from tflite_ptq.quantize.correction.closer import beyond_chance
from tflite_ptq.quantize.correction.layers import Layer, LeftAlone, match
from tflite_ptq.quantize.correction.response import Floats
from tflite_ptq.quantize.correction.samples import as_inputs
from tflite_ptq.quantize.correction.sequential import samples_that_fit, walk
from tflite_ptq.quantize.correction.yardstick import Yardstick

Method = Literal["one-pass", "sequential"]
Status = Literal["kept", "refused", "skipped"]
Deltas = Mapping[str, Floats]
"""By layer what is to be added to its bias, real values."""

_STANDARD_ERRORS = 3.0
"""How sure a gain on the samples held back must be before a single layer is refused or a method preferred: with tens of
layers tried, two standard errors would refuse some by chance."""
_LEAST_GAIN = 2.0
"""Standard errors by which the whole correction must bring the outputs closer to be kept at all."""
_MOST_LAYERS_TRIED = 64
MOST_SAMPLES = 256
"""Means settle as 1 / sqrt(n): more samples than this change a bias by less than its own rounding."""


@dataclass(frozen=True)
class Decision:
    """What became of one layer's correction, and why."""

    layer: str
    kind: str
    status: Status
    reason: str


@dataclass(frozen=True)
class Corrected:
    """``data`` is the file to keep. Mean over the samples held back of the outputs' SQNR in dB, before a last softmax
    or logistic (``judged_tensors``)."""

    data: bytes
    method: Method | None
    decisions: tuple[Decision, ...]
    sqnr_before_db: float
    closeness_db: tuple[float, ...]
    """The SQNR afterwards of each sample held back."""

    @property
    def sqnr_after_db(self) -> float:
        """The mean over the samples held back."""
        return float(np.mean(self.closeness_db))

    @property
    def held_back(self) -> int:
        """Number of samples held back."""
        return len(self.closeness_db)


class Trial:
    """A quantized model with the biases of all its layers corrected, by the method that serves it best.

    Of ``methods``, in the order of preference, a later one has to be surely better. ``deltas`` are those of each fold.
    """

    def __init__(self, yardstick: Yardstick, quantized: bytes, methods: Sequence[Method]) -> None:
        self.quantized, self.plain = quantized, Editable(quantized)
        learn_shapes(self.plain, as_inputs(self.plain, yardstick.names, yardstick.samples[:1])[0])
        self.layers, self.left = match(yardstick.reference, self.plain)
        self.judge, self.before, self.refused = yardstick.judge(self.plain)
        self.finite = bool(np.isfinite(self.before).all())
        """Whether its outputs are; there is nothing to correct where they are not."""
        self.method: Method | None = None
        self.deltas: Sequence[Deltas] = ()
        self.after = self.before
        self._yardstick = yardstick
        for method in methods if self.layers and self.finite else ():
            deltas = [self.deltas_by(method, self.layers, fold) for fold in range(len(yardstick.folds))]
            noise = self.judge([self.with_biases(part) for part in deltas])
            if np.isfinite(noise).all() if self.method is None else _lower(noise, self.after, _STANDARD_ERRORS):
                self.method, self.deltas, self.after = method, deltas, noise

    @property
    def closeness_db(self) -> tuple[float, ...]:
        """The SQNR of the outputs on each sample held back, in dB, before any layer is taken back; that without the
        correction where it is better."""
        return _closeness(self.after if _lower(self.after, self.before, _LEAST_GAIN) else self.before)

    @property
    def judged_on(self) -> str:
        """The samples that ``before`` and ``after`` are of, in words."""
        return (
            f"{len(self.after)} samples{' held back' if self._yardstick.holds_back else ', too few to hold any back'}"
        )

    def deltas_by(self, method: Method, layers: Sequence[Layer], fold: int | None) -> Deltas:
        """By layer what is to be added to its bias, measured on the samples fitted in a fold or on all."""
        yardstick = self._yardstick
        # Both terms of a correction must be means over the same samples: their difference is far smaller than either.
        samples = yardstick.measured(fold)
        most = samples_that_fit(self.plain, len(samples))
        means = yardstick.means(layers, most, fold)
        if method == "one-pass":
            return {layer.name: one_pass(layer, means[layer.float_input]) for layer in layers}
        model = self.plain.copy()
        found: dict[str, Floats] = {}

        def measured(layer: Layer, mean_quantized_input: Floats) -> None:
            found[layer.name] = sequential(layer, means[layer.float_input], mean_quantized_input)
            add_to_bias(model, layer, found[layer.name])

        walk(model, layers, as_inputs(model, yardstick.names, samples[:most]), measured)
        return found

    def with_biases(self, deltas: Deltas) -> Editable:
        """The quantized model with these added to its biases."""
        model = self.plain.copy()
        for layer in self.layers:
            if layer.name in deltas:
                add_to_bias(model, layer, deltas[layer.name])
        return model


def judged(trial: Trial) -> Corrected:
    """How close the model comes with all of its layers corrected, and the file as it is."""
    return Corrected(trial.quantized, trial.method, (), -float(trial.before.mean()), trial.closeness_db)


def correct(trial: Trial, threads: int = 1) -> Corrected:
    """The biases that bring the outputs closest to the float model's: without those that surely harm, the others
    measured again on all samples, as means settle as 1 / sqrt(n). The same for any number of ``threads``."""
    kept, after = _choose(trial, threads)
    gain = f"{-trial.before.mean():.1f} dB to {-after.mean():.1f} dB on {trial.judged_on}"
    decisions = [*map(_skipped, trial.left), *(_decided(layer, trial, kept, gain) for layer in _tried(trial))]
    data = trial.quantized
    if kept and trial.method is not None:
        layers = [layer for layer in trial.layers if layer.name in kept]
        data = trial.with_biases(trial.deltas_by(trial.method, layers, None)).to_bytes()
    before = -float(trial.before.mean())
    return Corrected(data, trial.method if kept else None, tuple(decisions), before, _closeness(after))


def _tried(trial: Trial) -> Sequence[Layer]:
    return trial.layers if trial.method is not None else ()


def _skipped(left: LeftAlone) -> Decision:
    return Decision(left.name, left.kind, "skipped", left.reason)


def _decided(layer: Layer, trial: Trial, kept: frozenset[str], gain: str) -> Decision:
    if layer.name in kept:
        return Decision(layer.name, layer.kind, "kept", f"{trial.method}: outputs from {gain}")
    return Decision(layer.name, layer.kind, "refused", "did not bring the outputs closer to float")


def _choose(trial: Trial, threads: int) -> tuple[frozenset[str], Floats]:
    """The layers whose correction is kept, and the noise with them: all, less those surely better taken back."""
    kept = [layer.name for layer in _tried(trial) if any(np.any(deltas[layer.name]) for deltas in trial.deltas)]
    after = trial.after
    untried = list(kept) if len(trial.layers) <= _MOST_LAYERS_TRIED else []

    def without(name: str) -> Floats:
        others = [{k: deltas[k] for k in kept if k != name} for deltas in trial.deltas]
        return trial.judge([trial.with_biases(part) for part in others])

    with ThreadPoolExecutor(threads) as pool:
        while untried:
            # Few are taken back: the next layers are tried as if this one were kept, and again where it is not.
            for noise in pool.map(without, list(untried)):
                name = untried.pop(0)
                if _lower(noise, after, _STANDARD_ERRORS):
                    kept, after = [k for k in kept if k != name], noise
                    break
    return (frozenset(kept), after) if _lower(after, trial.before, _LEAST_GAIN) else (frozenset(), trial.before)


def _closeness(noise_db: Floats) -> tuple[float, ...]:
    return tuple((-noise_db).tolist())


def _lower(one: Floats, other: Floats, standard_errors: float) -> bool:
    """Whether ``one`` lies below ``other``, which is finite, by more than so many standard errors of their paired
    differences."""
    return bool(np.isfinite(one).all()) and beyond_chance((other - one).tolist(), standard_errors)
