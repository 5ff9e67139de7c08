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
    """The sum of squares over all values of each of M outputs, each (n, values), of n samples: (n, M)."""
    return np.stack([np.einsum("ij,ij->i", values, values) for values in outputs], axis=1)


def noise_power(reference: Sequence[Reals], outputs: Sequence[Reals]) -> Reals:
    """The sum of (reference - output)^2 over all values of each output of n samples, (n, M); shapes match pairwise."""
    return power([want - got for want, got in zip(reference, outputs, strict=True)])


def scores_classes(shape: tuple[int, ...]) -> bool:
    """Whether an output of this shape is a score vector, (1, K) with K >= 2, so that an arg max means something."""
    return len(shape) == 2 and shape[0] in (1, -1) and shape[1] >= 2


def summarize(signal: Reals, noise: Reals, agrees: NDArray[np.bool_] | None, names: Sequence[str] = ()) -> Fidelity:
    """Fidelity from ``power`` and ``noise_power``, each (N, M), and equality of arg max, (N,) (None: no score vector).

    ``sqnr_db`` = 10 log10(sum of signal / sum of noise) over all outputs; None where it is infinite: no noise at all
    (``exact``), or noise upon a signal that is zero throughout (not ``exact``). Where there are several, the same of
    each of the outputs, by ``names``. At least one sample.
    """
    whole = _sqnr_db(signal, noise)
    apart = {name: _sqnr_db(signal[:, i], noise[:, i]) for i, name in enumerate(names)} if len(names) > 1 else {}
    return Fidelity(
        agreement=None if agrees is None else float(agrees.mean()),
        sqnr_db=whole if whole is not None and math.isfinite(whole) else None,
        exact=whole == math.inf,
        samples=len(signal),
        outputs_sqnr_db={n: db if math.isfinite(db) else None for n, db in apart.items() if db is not None},
    )


def _sqnr_db(signal: Reals, noise: Reals) -> float | None:
    """Infinite without noise; ``None`` for noise upon zeros."""
    signal_sum, noise_sum = math.fsum(signal.flat), math.fsum(noise.flat)
    if noise_sum == 0:
        return math.inf
    return 10 * math.log10(signal_sum / noise_sum) if signal_sum > 0 else None
