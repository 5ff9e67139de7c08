"""Copies of a model's tables that share all that an edit does not touch."""

from __future__ import annotations

import copy
from typing import Any

from ai_edge_litert import schema_py_generated as schema


def loosened(model: Any) -> Any:
    """A copy of all that the methods of ``Editable`` assign to or append to; what they only replace is shared."""
    loose = copy.copy(model)
    loose.buffers = list(model.buffers)
    loose.operatorCodes = [copy.copy(code) for code in model.operatorCodes]
    graph, *others = model.subgraphs
    loose.subgraphs = [copy.copy(graph), *others]
    loose.subgraphs[0].tensors = [copy.copy(tensor) for tensor in graph.tensors]
    loose.subgraphs[0].operators = [copy.copy(operator) for operator in graph.operators]
    return loose


def lean(tensor: Any) -> Any:
    """Without what running does not need and packing pays for."""
    same = copy.copy(tensor)
    same.name = None
    if same.type == schema.TensorType.FLOAT32:
        same.quantization = None
    return same
