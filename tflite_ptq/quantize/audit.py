"""What a converted file really computes in, and where that differs from what was asked (pure)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator

from tflite_ptq.model.description import FLOAT_DTYPES, ModelDescription, Operator, Subgraph
from tflite_ptq.recipe.schema import INTEGER_SCHEMES, Variant
from tflite_ptq.result import Audit

_READS_ONLY_SHAPE = frozenset({"SHAPE", "RANK"})
_HYBRID_WEIGHTS = frozenset({"int4", "int8", "uint8"})
"""Of weights that a hybrid kernel takes."""
_QUANTIZED_DTYPES = frozenset({"int8", "uint8", "int16"})
SELECTS = frozenset({"SELECT", "SELECT_V2"})
_NAMED_AT_MOST = 20


def audit(description: ModelDescription) -> Audit:
    """The dtypes of inputs and outputs, the operators by name, and those that compute in floating point.

    An operator computes in float when any of its inputs or outputs that is not a constant is float. Not counted:
    QUANTIZE from a float input and DEQUANTIZE to a float output of the model; DEQUANTIZE of a constant (its
    consumers are counted instead); SHAPE and RANK, which read no values. ``fully_integer`` means that no operator
    computes in float; float inputs and outputs show in ``input_dtypes`` and ``output_dtypes``.
    """
    float_ops = tuple(map(_named, _float_operators(description)))
    ops = Counter(op.name for subgraph in description.subgraphs for op in subgraph.operators)
    return Audit(
        fully_integer=not float_ops,
        input_dtypes={info.name: info.dtype for info in description.inputs},
        output_dtypes={info.name: info.dtype for info in description.outputs},
        float_ops=float_ops,
        ops=dict(sorted(ops.items())),
    )


def hybrid_ops(description: ModelDescription) -> tuple[str, ...]:
    """Those of ``Audit.float_ops`` with quantized weights: TFLite's hybrid kernels, which dynamic range is made of.

    They quantize their float input as they run and multiply integers; input and output are float all the same.
    """
    return tuple(
        _named(op)
        for op in _float_operators(description)
        if any(tensor and tensor.constant and tensor.scale and tensor.dtype in _HYBRID_WEIGHTS for tensor in op.inputs)
    )


def ill_scaled(description: ModelDescription) -> tuple[str, ...]:
    """The SELECT operators that copy a quantized value to an output of another scale, as ``Audit.float_ops``: LiteRT's
    kernels do not rescale it, so it means another number there."""
    return tuple(
        _named(op)
        for subgraph in description.subgraphs
        for op in subgraph.operators
        if op.name in SELECTS and len({tensor.scale for tensor in (*op.inputs[1:], *op.outputs) if tensor}) > 1
    )


def _named(op: Operator) -> str:
    return f"{op.name} ({op.outputs[0].name if op.outputs else 'no output'})"


def _float_operators(description: ModelDescription) -> Iterator[Operator]:
    for index, subgraph in enumerate(description.subgraphs):
        for op in subgraph.operators:
            if _computes_in_float(op, subgraph, entry_point=index in description.entry_points):
                yield op


def _computes_in_float(op: Operator, subgraph: Subgraph, *, entry_point: bool) -> bool:
    if op.name in _READS_ONLY_SHAPE:
        return False
    inputs = [tensor for tensor in op.inputs if tensor is not None]
    if op.name == "DEQUANTIZE" and all(tensor.constant for tensor in inputs):
        return False
    if entry_point and op.name == "QUANTIZE" and all(tensor in subgraph.inputs for tensor in inputs):
        return False
    if entry_point and op.name == "DEQUANTIZE" and all(tensor in subgraph.outputs for tensor in op.outputs):
        return False
    return any(tensor.floating and not tensor.constant for tensor in (*inputs, *op.outputs))


def unscaled(description: ModelDescription) -> frozenset[str]:
    """Inputs and outputs of a quantized dtype that have no scale: they are the float model's own."""
    ends = (*description.inputs, *description.outputs)
    return frozenset(info.name for info in ends if info.dtype in _QUANTIZED_DTYPES and info.scale is None)


def findings(audit: Audit, variant: Variant, own: Collection[str] = ()) -> tuple[str, ...]:
    """Every disagreement between the file and what ``variant`` asks for, a sentence each; empty where there is none.

    An input or output that is neither float nor a quantized dtype (int32 indices, say) keeps its dtype in any scheme,
    and one of the float model's ``own`` (uint8 images, say) where nothing else is asked for.
    """
    integer = variant.scheme in INTEGER_SCHEMES
    found = [
        f"{side} '{name}' is {dtype}, but {variant.io} was asked for."
        for side, dtypes in (("Input", audit.input_dtypes), ("Output", audit.output_dtypes))
        for name, dtype in dtypes.items()
        if dtype != variant.io and (dtype in FLOAT_DTYPES or (integer and dtype in _QUANTIZED_DTYPES))
        if not (name in own and variant.io == "float32")
    ]
    if integer and audit.float_ops:
        count = len(audit.float_ops)
        what = "1 operator computes" if count == 1 else f"{count} operators compute"
        settings = {"exclude": bool(variant.exclude), "float_fallback": variant.float_fallback}
        asked = [setting for setting, given in settings.items() if given]
        why = f"by {' and '.join(asked)}" if asked else f"though {variant.scheme} was asked for without float_fallback"
        found.append(f"{what} in float, {why}: {_listed(audit.float_ops)}.")
    if not integer and audit.ops and audit.fully_integer:
        found.append(f"Every operator computes in integers, but {variant.scheme} keeps activations in float.")
    return tuple(found)


def _listed(names: tuple[str, ...]) -> str:
    rest = len(names) - _NAMED_AT_MOST
    return ", ".join(names[:_NAMED_AT_MOST]) + (f" and {rest} more" if rest > 0 else "")


def quantized_parts(description: ModelDescription) -> str | None:
    """What is quantized in the file, in words; ``None`` where all of it is float."""
    quantized = [
        tensor
        for subgraph in description.subgraphs
        for tensor in subgraph.tensors
        if tensor.scale and tensor.dtype in _QUANTIZED_DTYPES | {"int4", "int32"}
    ]
    if quantized:
        dtypes = Counter(tensor.dtype for tensor in quantized)
        return ", ".join(f"{count} {dtype} tensors with scales" for dtype, count in sorted(dtypes.items()))
    halves = sum(tensor.constant and tensor.dtype == "float16" for s in description.subgraphs for tensor in s.tensors)
    return f"{halves} float16 weights" if halves else None
