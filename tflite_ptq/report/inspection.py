"""What ``inspect`` says about one file: its JSON record and how it looks on a console."""

from __future__ import annotations

from collections import Counter
from typing import Literal

from rich.console import Console
from rich.table import Table
from rich.text import Text

from tflite_ptq.result import Audit, Frozen, TensorInfo

_NAMED_AT_MOST = 20
_HYBRID_WEIGHTS = ("int4", "int8", "uint8")


class SignatureRecord(Frozen):
    """One SignatureDef of the file, inputs and outputs by name."""

    key: str
    inputs: tuple[TensorInfo, ...]
    outputs: tuple[TensorInfo, ...]


class OperatorRecord(Frozen):
    """How often an operator of one version occurs."""

    name: str
    version: int
    count: int


class WeightsRecord(Frozen):
    """The constants of one dtype; ``per_channel`` and ``sparse`` count tensors."""

    dtype: str
    count: int
    size_bytes: int
    per_channel: int
    sparse: int


class Inspection(Frozen):
    """One ``.tflite`` file (the JSON of ``inspect --json``). ``hybrid_ops``: those of ``audit.float_ops`` that have
    quantized weights."""

    format: Literal["tflite-ptq-inspection/1"] = "tflite-ptq-inspection/1"
    file: str
    size_bytes: int
    schema_version: int
    min_runtime_version: str | None
    subgraphs: int
    signatures: tuple[SignatureRecord, ...]
    inputs: tuple[TensorInfo, ...]
    outputs: tuple[TensorInfo, ...]
    operators: tuple[OperatorRecord, ...]
    weights: tuple[WeightsRecord, ...]
    variable_tensors: int
    audit: Audit
    hybrid_ops: tuple[str, ...] = ()


def render(inspection: Inspection, console: Console) -> None:
    """Print ``inspection``; text from the file is never read as markup."""
    runtime = inspection.min_runtime_version or "not stated"
    console.print(Text(inspection.file, style="bold"), soft_wrap=True)
    console.print(f"{_size(inspection.size_bytes)}, schema {inspection.schema_version}, runs on TFLite >= {runtime}")
    if inspection.subgraphs > 1 or inspection.variable_tensors:
        console.print(f"{inspection.subgraphs} subgraphs, {inspection.variable_tensors} variable tensors")
    for signature in inspection.signatures or (None,):
        inputs, outputs = (
            (signature.inputs, signature.outputs) if signature else (inspection.inputs, inspection.outputs)
        )
        title = f"Signature {signature.key}" if signature else "Inputs and outputs (no signature)"
        console.print(_tensors(title, inputs, outputs))
    console.print(_operators(inspection))
    if inspection.weights:
        console.print(_weights(inspection))
    _verdict(inspection, console)


def _table(title: str, *columns: tuple[str, Literal["left", "right"]]) -> Table:
    table = Table(title=Text(title, style="bold"), title_justify="left")
    for name, justify in columns:
        table.add_column(name, justify=justify, overflow="fold")
    return table


def _tensors(title: str, inputs: tuple[TensorInfo, ...], outputs: tuple[TensorInfo, ...]) -> Table:
    table = _table(
        title,
        ("", "left"),
        ("name", "left"),
        ("shape", "left"),
        ("dtype", "left"),
        ("scale", "right"),
        ("zero", "right"),
    )
    for side, infos in (("in", inputs), ("out", outputs)):
        for info in infos:
            shape = "(" + ", ".join("?" if size < 0 else str(size) for size in info.shape) + ")"
            scale = "-" if info.scale is None else f"{info.scale:.8g}"
            zero = "-" if info.zero_point is None else str(info.zero_point)
            table.add_row(side, Text(info.name), shape, info.dtype, scale, zero)
    return table


def _operators(inspection: Inspection) -> Table:
    total = sum(record.count for record in inspection.operators)
    table = _table(f"Operators ({total})", ("operator", "left"), ("version", "right"), ("count", "right"))
    for record in inspection.operators:
        table.add_row(Text(record.name), str(record.version), str(record.count))
    return table


def _weights(inspection: Inspection) -> Table:
    total = sum(record.size_bytes for record in inspection.weights)
    table = _table(
        f"Weights and other constants ({total:,} bytes)",
        *(("dtype", "left"), ("tensors", "right"), ("per-channel", "right"), ("sparse", "right"), ("bytes", "right")),
    )
    for row in inspection.weights:
        table.add_row(row.dtype, str(row.count), str(row.per_channel), str(row.sparse), f"{row.size_bytes:,}")
    return table


def _verdict(inspection: Inspection, console: Console) -> None:
    audit, hybrid = inspection.audit, inspection.hybrid_ops
    if audit.fully_integer:
        floats = [*audit.input_dtypes.values(), *audit.output_dtypes.values()]
        io = ", with float inputs or outputs" if any("float" in dtype for dtype in floats) else ""
        console.print(Text(f"Full integer: yes{io}", style="green"))
        return
    in_float = tuple((Counter(audit.float_ops) - Counter(hybrid)).elements())
    dtypes = " and ".join(row.dtype for row in inspection.weights if row.dtype in _HYBRID_WEIGHTS)
    kinds = [("compute in float", in_float), (f"hybrid ({dtypes} weights, float activations)", hybrid)]
    told = ", ".join(f"{len(names)} {what}" for what, names in kinds if names)
    number, _, rest = told.partition(" ")
    console.print(Text(f"Full integer: no, {number} of {sum(audit.ops.values())} operators {rest}", style="yellow"))
    _named("float", in_float, console)
    _named("hybrid", hybrid, console)


def _named(what: str, names: tuple[str, ...], console: Console) -> None:
    if not names:
        return
    ops = Counter(name.split(" (", 1)[0] for name in names)
    console.print(Text(f"  {what}: {', '.join(f'{number} {name}' for name, number in ops.most_common())}"))
    for name in names[:_NAMED_AT_MOST]:
        console.print(Text(f"  - {name}"), soft_wrap=True)
    if len(names) > _NAMED_AT_MOST:
        console.print(f"  and {len(names) - _NAMED_AT_MOST} more (--json lists all)")


def _size(size_bytes: int) -> str:
    if size_bytes < 1024:
        return f"{size_bytes} bytes"
    scaled, unit = (size_bytes / 1024, "KiB") if size_bytes < 1024**2 else (size_bytes / 1024**2, "MiB")
    return f"{scaled:.1f} {unit} ({size_bytes:,} bytes)"
