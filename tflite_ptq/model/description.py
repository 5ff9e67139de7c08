"""What a ``.tflite`` file holds, as plain frozen records (no numpy, no LiteRT): filled in by ``flatbuffer``."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from tflite_ptq.result import TensorInfo

FLOAT_DTYPES = frozenset(
    {"float32", "float16", "float64", "bfloat16", "complex64", "complex128", "float8_e4m3fn", "float8_e5m2"}
)


@dataclass(frozen=True)
class Tensor:
    """A tensor of a subgraph.

    ``shape``: -1 is a dynamic dimension. ``scale`` and ``zero_point``: empty where not quantized, one value per
    tensor, or one a channel along ``quantized_dimension``. ``constant_bytes``: size of the stored data, ``None``
    for an activation. ``buffer`` identifies the stored data: tensors may share one.
    """

    index: int
    name: str
    shape: tuple[int, ...]
    dtype: str
    scale: tuple[float, ...] = ()
    zero_point: tuple[int, ...] = ()
    quantized_dimension: int = 0
    constant_bytes: int | None = None
    buffer: str = ""
    variable: bool = False
    sparse: bool = False

    @property
    def constant(self) -> bool:
        """Whether the file stores its value (weights, biases, shapes)."""
        return self.constant_bytes is not None

    @property
    def floating(self) -> bool:
        """Whether its elements are floating point (or complex)."""
        return self.dtype in FLOAT_DTYPES

    @property
    def per_channel(self) -> bool:
        """Whether there is one scale a channel."""
        return len(self.scale) > 1

    def info(self, name: str | None = None) -> TensorInfo:
        """As an input or output named ``name`` (default: the tensor's own name)."""
        return TensorInfo(
            name=self.name if name is None else name,
            shape=self.shape,
            dtype=self.dtype,
            scale=self.scale[0] if len(self.scale) == 1 else None,
            zero_point=self.zero_point[0] if len(self.scale) == 1 and len(self.zero_point) == 1 else None,
        )


@dataclass(frozen=True)
class Operator:
    """One operator. A ``None`` input is an optional one that is left out. ``name`` of a custom one is its own."""

    name: str
    version: int
    inputs: tuple[Tensor | None, ...]
    outputs: tuple[Tensor, ...]
    custom: bool = False


@dataclass(frozen=True)
class Subgraph:
    """A graph of operators in the order they run; ``inputs`` and ``outputs`` by position."""

    name: str
    tensors: tuple[Tensor, ...]
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    operators: tuple[Operator, ...]


@dataclass(frozen=True)
class Signature:
    """A SignatureDef: inputs and outputs by name, in the order of the subgraph they belong to."""

    key: str
    subgraph: int
    inputs: tuple[TensorInfo, ...]
    outputs: tuple[TensorInfo, ...]


@dataclass(frozen=True)
class Weights:
    """The constants of one dtype. ``size_bytes`` counts data that several tensors share once."""

    dtype: str
    count: int
    size_bytes: int
    per_channel: int = 0
    sparse: int = 0


@dataclass(frozen=True)
class OperatorCount:
    """How often an operator of one version occurs, in all subgraphs."""

    name: str
    version: int
    count: int


@dataclass(frozen=True)
class ModelDescription:
    """A whole file. ``min_runtime_version`` is the oldest TensorFlow Lite that runs it, where the file says so."""

    path: Path
    size_bytes: int
    schema_version: int
    text: str
    min_runtime_version: str | None
    signatures: tuple[Signature, ...]
    subgraphs: tuple[Subgraph, ...]

    @property
    def main_signature(self) -> Signature | None:
        """That of the main subgraph, which an interpreter runs: of several, ``serving_default`` or the first."""
        of_main = [signature for signature in self.signatures if signature.subgraph == 0]
        return next((one for one in of_main if one.key == "serving_default"), of_main[0] if of_main else None)

    @property
    def inputs(self) -> tuple[TensorInfo, ...]:
        """Inputs of the main subgraph, as its signature names them, or its tensors where it has none."""
        main = self.main_signature
        return tuple(tensor.info() for tensor in self.subgraphs[0].inputs) if main is None else main.inputs

    @property
    def outputs(self) -> tuple[TensorInfo, ...]:
        """Outputs, as ``inputs``."""
        main = self.main_signature
        return tuple(tensor.info() for tensor in self.subgraphs[0].outputs) if main is None else main.outputs

    @property
    def entry_points(self) -> frozenset[int]:
        """The subgraphs that a caller runs; the others are bodies of control flow."""
        return frozenset({0, *(signature.subgraph for signature in self.signatures)})

    @property
    def operator_counts(self) -> tuple[OperatorCount, ...]:
        """Operators by name and version, the most frequent first."""
        counts = Counter((op.name, op.version) for subgraph in self.subgraphs for op in subgraph.operators)
        ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
        return tuple(OperatorCount(name, version, count) for (name, version), count in ordered)

    @property
    def weights(self) -> tuple[Weights, ...]:
        """Constants by dtype, the largest first."""
        by_dtype: dict[str, list[Tensor]] = {}
        for subgraph in self.subgraphs:
            for tensor in subgraph.tensors:
                if tensor.constant:
                    by_dtype.setdefault(tensor.dtype, []).append(tensor)
        seen: set[str] = set()
        found = []
        for dtype, tensors in by_dtype.items():
            sizes = {tensor.buffer: tensor.constant_bytes or 0 for tensor in tensors if tensor.buffer not in seen}
            seen.update(sizes)
            per_channel, sparse = sum(t.per_channel for t in tensors), sum(t.sparse for t in tensors)
            found.append(Weights(dtype, len(tensors), sum(sizes.values()), per_channel, sparse))
        return tuple(sorted(found, key=lambda weights: (-weights.size_bytes, weights.dtype)))
