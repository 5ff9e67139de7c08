"""Which operators a delegate took, read from the execution plan that LiteRT shows. Pure.

LiteRT keeps the original operators and appends a ``DELEGATE`` node for each partition, which names the tensors that
enter and leave it, not the operators inside.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TypedDict

_DELEGATE = "DELEGATE"


class Node(TypedDict):
    """A node as LiteRT lists it: operator name and tensor indices (-1 is an optional tensor left out)."""

    op_name: str
    inputs: Iterable[int]
    outputs: Iterable[int]


@dataclass(frozen=True)
class Placement:
    """Of the operators of the model's main subgraph: how many a delegate has taken, how many there are, and those
    ``left`` to the built-in kernels, counted by name."""

    taken: int
    total: int
    left: dict[str, int]


def placement(nodes: Sequence[Node]) -> Placement:
    """Where the operators of an execution plan run.

    An operator is inside a partition when a tensor that leaves the partition depends on it and every path between
    stays clear of the tensors that enter the partition.
    """
    originals = [node for node in nodes if node["op_name"] != _DELEGATE]
    producer = {int(tensor): number for number, node in enumerate(originals) for tensor in node["outputs"]}
    taken: set[int] = set()
    for node in nodes:
        if node["op_name"] != _DELEGATE:
            continue
        seen = {int(tensor) for tensor in node["inputs"]}
        pending = [int(tensor) for tensor in node["outputs"]]
        while pending:
            tensor = pending.pop()
            if tensor in seen or tensor not in producer:
                continue
            seen.add(tensor)
            taken.add(producer[tensor])
            pending.extend(int(source) for source in originals[producer[tensor]]["inputs"])
    left = Counter(node["op_name"] for number, node in enumerate(originals) if number not in taken)
    return Placement(len(taken), len(originals), dict(left))
