"""Word error rate of models that put out characters. Pure; jiwer (extra ``speech``) aligns the words.

Word error rate = (substitutions + deletions + insertions) / words of the transcripts, over all samples together.
"""

from __future__ import annotations

from itertools import groupby

import numpy as np
from numpy.typing import NDArray

from tflite_ptq.errors import MeasurementError
from tflite_ptq.recipe.metric import Metric

Array = NDArray[np.generic]
Reals = NDArray[np.float64]


def said(output: Array, metric: Metric) -> str:
    """The text in ``output``: scores (1, T, K) of which the highest counts, or class indices (1, T).

    ``decode: ctc`` joins repeats and then drops blanks (greedy decoding, Graves et al. 2006); ``characters`` takes each
    position as it is, without blanks where ``blank`` names one. The alphabet's characters are the other classes, in
    order. Raises ``MeasurementError`` where output and alphabet do not fit.
    """
    alphabet = metric.alphabet or ""
    ctc = metric.decode == "ctc"
    if output.ndim == 3 and output.shape[0] == 1:
        classes, indices = output.shape[2], output[0].argmax(axis=-1)
    elif output.ndim == 2 and output.shape[0] == 1 and output.dtype.kind in "iu":
        classes, indices = len(alphabet) + (ctc or metric.blank is not None), output[0].astype(np.int64)
    else:
        raise MeasurementError(
            f"metric wer: the output has shape {output.shape} ({output.dtype.name}), neither scores (1, T, classes) "
            "nor class indices (1, T); name another output"
        )
    blank = metric.blank if metric.blank is not None else classes - 1 if ctc else None
    symbols: list[str] = [*alphabet]
    if blank is not None:
        symbols.insert(blank, "")
    if len(symbols) != classes or (indices.size and not 0 <= int(indices.min()) <= int(indices.max()) < classes):
        highest = max(classes - 1, int(indices.max()) if indices.size else 0)
        raise MeasurementError(
            f"metric wer: the output has classes up to {highest}, alphabet and blank make {len(symbols)} (0 to "
            f"{len(symbols) - 1}); correct alphabet or blank"
        )
    spoken = [int(index) for index in indices]
    return "".join(symbols[index] for index in ([key for key, _ in groupby(spoken)] if ctc else spoken))


def word_errors(transcript: str, text: str) -> Reals:
    """Errors of ``text``, and words of ``transcript``: (2,). Words are parted by white space; case counts."""
    words, heard = transcript.split(), text.split()
    if not words or not heard:  # nothing to align: all that was heard is inserted, or all that was said deleted
        return np.array([max(len(words), len(heard)), len(words)], np.float64)
    import jiwer  # an extra

    found = jiwer.process_words(" ".join(words), " ".join(heard))
    return np.array([found.substitutions + found.deletions + found.insertions, len(words)], np.float64)
