"""Operators, tensors and constants added to a graph of the schema's objects."""

from __future__ import annotations

from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from numpy.typing import NDArray

from tflite_ptq.model.flatbuffer import DTYPES

_CODES = {name: code for code, name in DTYPES.items()}


class Adding:
    """Adds to ``graph``, a subgraph of ``model``, whose lists must be its own: they grow."""

    def __init__(self, model: Any, graph: Any) -> None:
        self._model, self._graph = model, graph
        self._codes: dict[int, int] = {}
        self._constants: dict[tuple[str, tuple[int, ...], bytes], int] = {}

    def tensor(self, tensor: Any) -> int:
        """The index of a tensor table, now part of the graph."""
        self._graph.tensors.append(tensor)
        return len(self._graph.tensors) - 1

    def constant(self, value: NDArray[np.generic]) -> int:
        """The index of a tensor that holds ``value``; the same for the same value."""
        content = (value.dtype.char, value.shape, value.tobytes())
        if content not in self._constants:
            buffer, tensor = schema.BufferT(), schema.TensorT()
            buffer.data = np.frombuffer(content[2], np.uint8)
            self._model.buffers.append(buffer)
            tensor.shape, tensor.type = list(value.shape), _CODES[value.dtype.name]
            tensor.buffer = len(self._model.buffers) - 1
            self._constants[content] = self.tensor(tensor)
        return self._constants[content]

    def operator(self, builtin: int, inputs: list[int], output: int, kind: int, options: object) -> Any:
        """An operator's table, for the caller to put in its place. ``kind``: what its ``options`` are, of the schema's
        ``BuiltinOptions``."""
        operator = schema.OperatorT()
        operator.opcodeIndex, operator.inputs, operator.outputs = self._code(builtin), inputs, [output]
        operator.builtinOptionsType, operator.builtinOptions = kind, options
        return operator

    def _code(self, builtin: int) -> int:
        if builtin not in self._codes:
            code = schema.OperatorCodeT()
            code.builtinCode, code.deprecatedBuiltinCode, code.version = builtin, builtin, 1
            self._model.operatorCodes.append(code)
            self._codes[builtin] = len(self._model.operatorCodes) - 1
        return self._codes[builtin]
