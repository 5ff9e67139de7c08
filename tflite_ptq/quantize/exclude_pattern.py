"""The other way round from ``exclude``: a pattern that names one operator of a model and no other (pure)."""

from __future__ import annotations

import glob
import re
from collections import Counter

from tflite_ptq.model.editing import Editable
from tflite_ptq.quantize.exclude import parts

_OF_AN_OPERATOR = re.compile(
    r"(AvgPool|BiasAdd|Conv2D|depthwise|FusedBatchNorm|MatMul|MaxPool|Mean|ReadVariableOp|Relu|Softmax|add|mul|sub)\w*"
)


def exclude_patterns(model: Editable) -> dict[int, str | None]:
    """By position of the node: the most readable pattern that ``excluded_outputs`` matches with this node alone.

    A layer's own name (``conv_7``) goes before an operator's inside of it (``conv_7/BiasAdd``), a short one before a
    long one. ``None`` where every name is shared with another node, or where there is none.
    """
    names = {
        node.position: {part for output in node.outputs for part in parts(model.name(output)) if part}
        for node in model.nodes()
    }
    used = Counter(part for found in names.values() for part in found)

    def preference(part: str) -> tuple[bool, bool, int, str]:
        return (_OF_AN_OPERATOR.fullmatch(part) is not None or ";" in part, "/" in part, len(part), part)

    return {
        position: min((glob.escape(p) for p in found if used[p] == 1), key=preference, default=None)
        for position, found in names.items()
    }
