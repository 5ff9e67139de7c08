"""Models that several samples can go through at once: no operator mixes the rows of the first axis, or counts them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tflite_ptq.model.editing import Editable, Node

_ELEMENTWISE = frozenset(
    {"ABS", "ELU", "EXP", "GELU", "HARD_SWISH", "LEAKY_RELU", "LOGISTIC", "NEG", "RELU", "RELU6", "SQUARE", "TANH"}
)
_OF_TWO = frozenset({"ADD", "SUB", "MUL", "MINIMUM", "MAXIMUM"})


def independent_rows(model: Editable) -> bool:
    """Whether n samples stacked along the first axis give n times the activations, each as if it were alone.

    A dense net's do. Where it is not certain the answer is no: a RESHAPE, say, may hold the number of rows.
    """
    nodes = model.nodes()
    if any(node.name not in (_ELEMENTWISE | _OF_TWO | {"FULLY_CONNECTED"}) for node in nodes):
        return False
    computed = {*model.inputs, *(tensor for node in nodes for tensor in node.outputs)}
    ranks = {tensor: len(model.shape(tensor)) for tensor in computed}
    return all(_is_a_row(model, tensor) for tensor in computed) and all(
        _keeps_rows(model, node, ranks) for node in nodes
    )


def _is_a_row(model: Editable, tensor: int) -> bool:
    shape = model.shape(tensor)
    return model.dtype(tensor) == "float32" and len(shape) > 1 and shape[0] == 1


def _keeps_rows(model: Editable, node: Node, ranks: Mapping[int, int]) -> bool:
    """``ranks`` are those of the tensors that an inference computes; all others are constants."""
    rank = ranks[node.outputs[0]]
    if node.name in _OF_TWO:
        return all(ranks[i] == rank if i in ranks else _broadcast(model.shape(i), rank) for i in node.inputs)
    first, *others = node.inputs
    # A dense layer takes samples of several axes as rows, too, and may give them another shape.
    return ranks.get(first) == rank and not ranks.keys() & set(others) and (node.name in _ELEMENTWISE or rank == 2)


def _broadcast(constant: Sequence[int], rank: int) -> bool:
    """Whether every row meets the same of it."""
    return len(constant) < rank or constant[0] == 1
