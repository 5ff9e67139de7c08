"""How closely a variant follows float32 on the same sample, and over all samples. Pure.

Per-sample values are kept by sample index, so results of several threads merge by place, and the sums are exact and
in no order (``math.fsum``): the figures do not depend on who measured which sample.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from tflite_ptq.result import Fidelity

Reals = NDArray[np.float64]


def power(outputs: Sequence[Reals]) -> Reals:
    """The sum of squares over all values of all outputs, each (n, values), of n samples: (n,)."""
    sums: list[Reals] = [np.einsum("ij,ij->i", values, values) for values in outputs]
    return np.asarray(np.sum(sums, axis=0), np.float64)


def noise_power(reference: Sequence[Reals], outputs: Sequence[Reals]) -> Reals:
    """The sum of (reference - output)^2 over all values of all outputs of n samples, (n,); shapes match pairwise."""
    return power([want - got for want, got in zip(reference, outputs, strict=True)])


def scores_classes(shape: tuple[int, ...]) -> bool:
    """Whether an output of this shape is a score vector, (1, K) with K >= 2, so that an arg max means something."""
    return len(shape) == 2 and shape[0] in (1, -1) and shape[1] >= 2


def summarize(signal: Reals, noise: Reals, agrees: NDArray[np.bool_] | None) -> Fidelity:
    """Fidelity from ``power``, ``noise_power`` and equality of arg max (None: no score vector), each (N,).

    ``sqnr_db`` = 10 log10(sum of signal / sum of noise); None where it is infinite: no noise at all (``exact``), or
    noise upon a signal that is zero throughout (not ``exact``). At least one sample.
    """
    signal_sum, noise_sum = math.fsum(signal), math.fsum(noise)
    finite = signal_sum > 0 and noise_sum > 0
    return Fidelity(
        agreement=None if agrees is None else float(agrees.mean()),
        sqnr_db=10 * math.log10(signal_sum / noise_sum) if finite else None,
        exact=noise_sum == 0,
        samples=len(signal),
    )
