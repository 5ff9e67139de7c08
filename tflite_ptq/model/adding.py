"""Operators, tensors and constants added to a copy of a model of the schema's objects."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from numpy.typing import NDArray

from tflite_ptq.model.flatbuffer import DTYPE_CODES


class Adding:
    """A copy of a schema ``ModelT``, and what is added to its first subgraph; all that stays is shared with ``model``,
    which is left as it is."""

    def __init__(self, model: Any) -> None:
        self.model, self.graph = copy.copy(model), copy.copy(model.subgraphs[0])
        self.model.subgraphs = [self.graph, *model.subgraphs[1:]]
        self.model.buffers, self.model.operatorCodes = list(model.buffers), list(model.operatorCodes)
        self.graph.tensors, self.graph.operators = list(self.graph.tensors), list(self.graph.operators)
        self._codes: dict[int, int] = {}
        self._constants: dict[tuple[str, tuple[int, ...], bytes], int] = {}

    def tensor(self, tensor: Any) -> int:
        """The index of a tensor table, now part of the graph."""
        self.graph.tensors.append(tensor)
        return len(self.graph.tensors) - 1

    def constant(self, value: NDArray[np.generic]) -> int:
        """The index of a tensor that holds ``value``; the same for the same value."""
        content = (value.dtype.char, value.shape, value.tobytes())
        if content not in self._constants:
            buffer, tensor = schema.BufferT(), schema.TensorT()
            buffer.data = np.frombuffer(content[2], np.uint8)
            self.model.buffers.append(buffer)
            tensor.shape, tensor.type = list(value.shape), DTYPE_CODES[value.dtype.name]
            tensor.buffer = len(self.model.buffers) - 1
            self._constants[content] = self.tensor(tensor)
        return self._constants[content]

    def operator(self, builtin: int, inputs: list[int], output: int, kind: int, options: object) -> Any:
        """An operator's table, for the caller to put in its place. ``kind``: what its ``options`` are, of the schema's
        ``BuiltinOptions``."""
        operator = schema.OperatorT()
        operator.opcodeIndex, operator.outputs = self.code(builtin), [output]
        operator.inputs = np.array(inputs, np.int32)  # packed as a whole
        operator.builtinOptionsType, operator.builtinOptions = kind, options
        return operator

    def code(self, builtin: int) -> int:
        """The index of an operator code."""
        if builtin not in self._codes:
            code = schema.OperatorCodeT()
            code.builtinCode, code.deprecatedBuiltinCode, code.version = builtin, builtin, 1
            self.model.operatorCodes.append(code)
            self._codes[builtin] = len(self.model.operatorCodes) - 1
        return self._codes[builtin]
