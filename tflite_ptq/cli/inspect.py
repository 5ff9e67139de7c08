"""``tflite-ptq inspect``: what a ``.tflite`` file holds."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from tflite_ptq.report.inspection import Inspection


@click.command(name="inspect")
@click.argument("model", metavar="MODEL.tflite", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of tables.")
def inspect_command(model: Path, as_json: bool) -> None:
    """Show what MODEL.tflite holds, and whether it computes in integers only.

    Inputs and outputs with scale and zero point, operators with counts and versions, weights by dtype, and every
    operator that computes in floating point. Nothing is run: the file alone is read.

    \b
    Examples:
      tflite-ptq inspect out/kws/int8.tflite
      tflite-ptq inspect model.tflite --json | jq .audit.float_ops
    """
    inspection = _inspection(model)
    if as_json:
        click.echo(inspection.model_dump_json(indent=2))
        return
    from tflite_ptq.cli.printing import printing
    from tflite_ptq.report.inspection import render

    with printing() as console:
        render(inspection, console)


def _inspection(path: Path) -> Inspection:
    from tflite_ptq.model.flatbuffer import describe
    from tflite_ptq.quantize.audit import audit, hybrid_ops
    from tflite_ptq.report.inspection import Inspection, OperatorRecord, SignatureRecord, WeightsRecord

    found = describe(path)
    return Inspection(
        file=str(path),
        size_bytes=found.size_bytes,
        schema_version=found.schema_version,
        min_runtime_version=found.min_runtime_version,
        subgraphs=len(found.subgraphs),
        signatures=tuple(SignatureRecord(key=s.key, inputs=s.inputs, outputs=s.outputs) for s in found.signatures),
        inputs=found.inputs,
        outputs=found.outputs,
        operators=tuple(OperatorRecord(name=o.name, version=o.version, count=o.count) for o in found.operator_counts),
        weights=tuple(
            WeightsRecord(
                dtype=w.dtype, count=w.count, size_bytes=w.size_bytes, per_channel=w.per_channel, sparse=w.sparse
            )
            for w in found.weights
        ),
        variable_tensors=sum(tensor.variable for subgraph in found.subgraphs for tensor in subgraph.tensors),
        audit=audit(found),
        hybrid_ops=hybrid_ops(found),
    )
