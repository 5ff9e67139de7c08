"""Editing a ``.tflite``: reading constants, writing ranges, weights and biases, exposing activations, cutting segments.

The flatbuffer's tables are read where they are looked at, changed, and packed again. Only the first subgraph is edited;
``why_not_editable`` says what else a file may hold that this module leaves alone.
"""

from __future__ import annotations

import copy
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from numpy.typing import NDArray

from tflite_ptq.model.flatbuffer import DTYPE_CODES, DTYPES, OPERATOR_NAMES
from tflite_ptq.model.packing import packed, packed_in_front
from tflite_ptq.model.patching import with_ranges
from tflite_ptq.model.reductions import Reduced, with_reductions
from tflite_ptq.model.separating import with_own_constants
from tflite_ptq.model.sharing import lean, loosened
from tflite_ptq.model.substitutes import has_substitute, with_substitutes
from tflite_ptq.model.tables import unpacked

Array = NDArray[np.generic]

_CONTROL_FLOW = frozenset({"IF", "WHILE", "CALL_ONCE", "STABLEHLO_COMPOSITE"})
_RECURRENT = frozenset({"UNIDIRECTIONAL_SEQUENCE_LSTM", "BIDIRECTIONAL_SEQUENCE_LSTM", "LSTM", "SVDF", "RNN"})
_STATEFUL = _RECURRENT | {"VAR_HANDLE", "READ_VARIABLE"}
_ABSENT = -1


@dataclass(frozen=True)
class Affine:
    """real = scale * (q - zero_point), per tensor (length 1) or per channel along ``quantized_dimension``."""

    scale: NDArray[np.float64]
    zero_point: NDArray[np.int64]
    quantized_dimension: int


@dataclass(frozen=True)
class Node:
    """An operator: position in execution order, name and tensor indices (-1: absent input)."""

    position: int
    name: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    table: Any
    """Its own in the schema."""

    @property
    def options(self) -> Any:
        """The schema's option table of its kind."""
        return self.table.builtinOptions


class Editable:
    """A ``.tflite`` to be changed. Tensor indices are those of the first subgraph."""

    def __init__(self, data: bytes) -> None:
        self._file, self._model = data, unpacked(data)
        self._changed = False
        self._learnt: dict[int, tuple[int, ...]] = {}

    def copy(self) -> Editable:
        """Another of the same content: an edit of one does not show in the other. Far quicker than unpacking again."""
        other = object.__new__(Editable)
        other._file, other._model, other._changed = self._file, loosened(self._model), self._changed
        other._learnt = self._learnt
        return other

    @property
    def _graph(self) -> Any:
        return self._model.subgraphs[0]

    @property
    def inputs(self) -> tuple[int, ...]:
        """Tensor indices of the subgraph's inputs."""
        return tuple(int(index) for index in self._graph.inputs)

    @property
    def outputs(self) -> tuple[int, ...]:
        """Tensor indices of the subgraph's outputs."""
        return tuple(int(index) for index in self._graph.outputs)

    def nodes(self) -> tuple[Node, ...]:
        """The operators in execution order."""
        return tuple(
            Node(
                position,
                self._operator_name(operator.opcodeIndex),
                tuple(map(int, operator.inputs)),
                tuple(map(int, operator.outputs)),
                operator,
            )
            for position, operator in enumerate(self._graph.operators)
        )

    def name(self, tensor: int) -> str:
        """The tensor's name."""
        raw = self._graph.tensors[tensor].name
        return raw.decode("utf-8", "replace") if isinstance(raw, bytes) else str(raw)

    def named(self) -> Mapping[str, int]:
        """Tensor index by name; of tensors that share a name, the first."""
        found: dict[str, int] = {}
        for index in range(len(self._graph.tensors)):
            found.setdefault(self.name(index), index)
        return found

    def shape(self, tensor: int) -> tuple[int, ...]:
        """The tensor's shape, with 1 for each size that the file leaves open, until it is learnt."""
        if tensor in self._learnt:
            return self._learnt[tensor]
        shape = self._graph.tensors[tensor].shape
        return () if shape is None else tuple(map(int, shape))

    def leaves_shapes_open(self) -> bool:
        """Whether the file leaves any size of a tensor to be found when it runs."""
        signatures = (tensor.shapeSignature for tensor in self._graph.tensors)
        return any(signature is not None and min(signature, default=0) < 0 for signature in signatures)

    def learn_shapes(self, shapes: Mapping[int, tuple[int, ...]]) -> None:
        """Tells the shapes that tensors have when the file runs; what is written keeps the file's."""
        self._learnt = {**self._learnt, **shapes}

    def dtype(self, tensor: int) -> str:
        """The tensor's dtype in numpy's words."""
        return DTYPES.get(self._graph.tensors[tensor].type, "unknown")

    def is_constant(self, tensor: int) -> bool:
        """Whether the file stores the tensor's value."""
        return self._buffer(tensor).data is not None

    def constant(self, tensor: int) -> Array:
        """A copy of a stored value, in the tensor's shape and dtype."""
        data = np.asarray(self._buffer(tensor).data, np.uint8).tobytes()
        return np.frombuffer(data, self.dtype(tensor)).reshape(self.shape(tensor)).copy()

    def set_constant(self, tensor: int, value: Array) -> None:
        """Stores ``value`` (the tensor's shape and dtype) for this tensor alone, even where others share its buffer."""
        if value.dtype.name != self.dtype(tensor) or value.shape != self.shape(tensor):
            raise ValueError(f"{self.name(tensor)}: {value.dtype}{value.shape} is not its dtype and shape")
        self._changed = True
        buffer = schema.BufferT()
        buffer.data = np.frombuffer(np.ascontiguousarray(value).tobytes(), np.uint8)
        own = self._graph.tensors[tensor].buffer
        if own and sum(other.buffer == own for graph in self._model.subgraphs for other in graph.tensors) == 1:
            self._model.buffers[own] = buffer
            return
        self._model.buffers.append(buffer)
        self._graph.tensors[tensor].buffer = len(self._model.buffers) - 1

    def affine(self, tensor: int) -> Affine | None:
        """How the tensor is quantized; ``None`` where it is not."""
        found = self._graph.tensors[tensor].quantization
        if found is None or found.scale is None or len(found.scale) == 0:
            return None
        return Affine(
            np.asarray(found.scale, np.float64),
            np.asarray(found.zeroPoint, np.int64),
            int(found.quantizedDimension),
        )

    def limits(self, tensor: int) -> tuple[float, float] | None:
        """``quantization.min`` and ``.max`` as calibration wrote them; ``None`` where it did not."""
        found = self._graph.tensors[tensor].quantization
        if found is None or found.min is None or found.max is None or len(found.min) != 1 or len(found.max) != 1:
            return None
        return float(found.min[0]), float(found.max[0])

    def activations(self) -> tuple[int, ...]:
        """Float tensors that an inference computes: the inputs and every operator's outputs, in execution order."""
        computed = (int(index) for operator in self._graph.operators for index in operator.outputs)
        order = dict.fromkeys((*self.inputs, *computed))
        return tuple(i for i in order if self.dtype(i) == "float32" and not self.is_constant(i))

    def with_ranges(self, ranges: Mapping[int, tuple[float, float]]) -> bytes:
        """The file with ``quantization.min`` and ``.max`` of activations, as TensorFlow's calibrator writes them, to be
        quantized."""
        if not self._changed:
            patched = with_ranges(self._file, {self._graph.tensors[i]: limits for i, limits in ranges.items()})
            if patched is not None:
                return patched
        model = loosened(self._model)
        for tensor, (low, high) in ranges.items():
            parameters = schema.QuantizationParametersT()
            parameters.min, parameters.max = [low], [high]
            model.subgraphs[0].tensors[tensor].quantization = parameters
        return packed_in_front(model, self._file)

    def segment(self, first: int, last: int, inputs: Sequence[int], outputs: Sequence[int]) -> bytes:
        """A model of the operators ``first`` to ``last`` (exclusive) alone, fed at ``inputs``, to be run: what these
        operators do not use, and names, are left out. Tensors keep their indices."""
        whole = self._graph
        part = copy.copy(whole)
        part.operators = whole.operators[first:last]
        part.inputs, part.outputs = list(inputs), list(outputs)
        used = {*inputs, *outputs, *(i for operator in part.operators for i in (*operator.inputs, *operator.outputs))}
        no_tensor, no_buffer = schema.TensorT(), schema.BufferT()
        part.tensors = [lean(tensor) if i in used else no_tensor for i, tensor in enumerate(whole.tensors)]
        read = {whole.tensors[i].buffer for operator in part.operators for i in operator.inputs if i != _ABSENT}
        model = copy.copy(self._model)
        model.subgraphs = [part]
        model.buffers = [buffer if i in read else no_buffer for i, buffer in enumerate(self._model.buffers)]
        model.signatureDefs = model.metadata = model.metadataBuffer = None
        return packed(model)

    def showing(self, tensors: Sequence[int]) -> bytes:
        """The whole model with these tensors as its outputs, each once, to be run."""
        model, graph = copy.copy(self._model), copy.copy(self._graph)
        graph.outputs = list(dict.fromkeys(tensors))
        model.subgraphs, model.signatureDefs = [graph, *self._model.subgraphs[1:]], None
        return packed_in_front(model, self._file)

    def reducing(self, tensors: Sequence[int]) -> tuple[bytes, Reduced]:
        """A model that tells minimum, maximum and sum of float activations instead, and what its output is."""
        reduced = with_reductions(self._model, tensors)
        return packed_in_front(reduced.model, self._file), reduced

    def substituting(self, names: Collection[str]) -> tuple[bytes, tuple[str, ...]]:
        """The file with its operators called ``names`` written with others (see ``model.substitutes``) where their
        activations carry ranges, and the names of those that were, one for each."""
        found = [
            node
            for node in self.nodes()
            if node.name in names
            and has_substitute(node.name, self._graph.tensors[node.inputs[0]])
            and all(self.limits(i) is not None for i in (*node.inputs, *node.outputs) if not self.is_constant(i))
        ]
        if not found:
            return self._file, ()
        changed = with_substitutes(self._model, {node.position: node.name for node in found})
        return packed_in_front(changed, self._file), tuple(node.name for node in found)

    def separating(self) -> bytes:
        """The file with constants of their own for the layers that share them (see ``model.separating``)."""
        separated = with_own_constants(self._model)
        return self._file if separated is None else packed_in_front(separated, self._file)

    def add_bias(self, node: Node, value: Array, scale: NDArray[np.float64] | None) -> int:
        """Gives an operator a bias in the place of what it has; ``scale`` where it is quantized. Its tensor's index."""
        tensor = schema.TensorT()
        tensor.name = f"{self.name(node.outputs[0])};bias".encode()
        tensor.shape = list(value.shape)
        tensor.type = DTYPE_CODES[value.dtype.name]
        tensor.buffer = 0
        if scale is not None:
            parameters = schema.QuantizationParametersT()
            parameters.scale, parameters.zeroPoint = scale.tolist(), [0] * len(scale)
            tensor.quantization = parameters
        self._graph.tensors.append(tensor)
        index = len(self._graph.tensors) - 1
        self.set_constant(index, value)
        operator = self._graph.operators[node.position]
        before = 3 if node.name == "TRANSPOSE_CONV" else 2  # it is told its output's shape first
        operator.inputs = [*(int(i) for i in operator.inputs[:before]), index]
        if node.name == "TRANSPOSE_CONV":
            code = self._model.operatorCodes[operator.opcodeIndex]
            code.version = max(code.version, 3)  # the first that takes a bias (TFLite's op_version.cc)
        return index

    def to_bytes(self) -> bytes:
        """The packed file."""
        return packed(self._model)

    def why_not_editable(self) -> str | None:
        """What the file holds that calibration and correction cannot follow, in words; ``None`` where nothing."""
        if len(self._model.subgraphs) != 1:
            return f"the model has {len(self._model.subgraphs)} subgraphs"
        names = {node.name for node in self.nodes()}
        for kind, known in (("control flow", _CONTROL_FLOW), ("state between steps", _STATEFUL), ("", {"CUSTOM"})):
            found = sorted(names & known)
            if found:
                return f"the model has {kind or 'custom operators'} ({', '.join(found)})"
        if any(tensor.isVariable for tensor in self._graph.tensors):
            return "the model keeps state in variable tensors"
        activations = self.activations()
        if len({self.name(index) for index in activations}) != len(activations):
            return "several activations share a name"
        if any(buffer.offset > 1 for buffer in self._model.buffers):
            return "the model is larger than a flatbuffer (2 GB) and stores its weights behind it"
        return None

    def _buffer(self, tensor: int) -> Any:
        return self._model.buffers[self._graph.tensors[tensor].buffer]

    def _operator_name(self, opcode_index: int) -> str:
        code = self._model.operatorCodes[opcode_index]
        return OPERATOR_NAMES.get(max(code.builtinCode, code.deprecatedBuiltinCode), "CUSTOM")
