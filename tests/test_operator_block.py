"""Operators packed as one array, read back with the schema's own object API."""

from __future__ import annotations

from pathlib import Path

import pytest
from ai_edge_litert import schema_py_generated as schema
from tiny_tflite import File, Graph, Op, T

from tflite_ptq.model.editing import Editable
from tflite_ptq.model.operator_block import OperatorBlock
from tflite_ptq.model.packing import Shared, packed, packed_in_front
from tflite_ptq.model.tables import unpacked

ROWS = [(0, 5, 1, 7), (3, 0, 2, 0), (200, 70000, 2147483647, 1)]


@pytest.mark.parametrize("in_front", [False, True])
@pytest.mark.parametrize("count", [1, 2, 3])
def test_read_back(count: int, in_front: bool, tmp_path: Path) -> None:
    path = File([Graph([T("x"), T("y")], ["x"], ["y"], [Op("RELU", ["x"], ["y"])])]).write(tmp_path / "m.tflite")
    file = path.read_bytes()
    options = schema.ReducerOptionsT()
    options.keepDims = True
    block = OperatorBlock(schema.BuiltinOptions.ReducerOptions, Shared(options))
    model = unpacked(file)
    graph = model.subgraphs[0]
    graph.operators = [block.add(*ROWS[0]), *graph.operators, *(block.add(*row) for row in ROWS[1:count])]
    for _ in range(2):  # a block serves several files
        made = packed_in_front(model, file) if in_front else packed(model)
        whole = schema.ModelT.InitFromObj(schema.Model.GetRootAs(bytearray(made), 0))
        first, own, *others = whole.subgraphs[0].operators
        assert [(o.opcodeIndex, *o.inputs, *o.outputs) for o in (first, *others)] == ROWS[:count]
        for one in (first, *others):
            assert one.builtinOptionsType == schema.BuiltinOptions.ReducerOptions
            assert one.builtinOptions.keepDims is True
            assert one.customOptions is None and one.intermediates is None
        assert list(own.inputs) == [0] and list(own.outputs) == [1]


def test_reductions_stand_behind_the_operator_that_made_what_they_look_at(tmp_path: Path) -> None:
    """So that an activation need not be kept; small ones of one shape are stacked and come at the end."""
    big = (1, 5000)
    tensors = [T("x", shape=big), T("a", shape=big), T("y", shape=big), T("s"), T("t")]
    ops = [Op("NEG", ["x"], ["a"]), Op("ABS", ["a"], ["y"]), Op("NEG", ["s"], ["t"])]
    path = File([Graph(tensors, ["x", "s"], ["y", "t"], ops)]).write(tmp_path / "m.tflite")
    model = Editable(path.read_bytes())
    content, _ = model.reducing(model.activations())
    names = [node.name for node in Editable(content).nodes()]
    looking = ["REDUCE_MIN", "REDUCE_MAX", "SUM"]
    wanted = [*looking, "NEG", *looking, "ABS", *looking, "NEG", "CONCATENATION", *looking]
    assert names[: len(wanted)] == wanted
    assert set(names[len(wanted) :]) == {"PACK", "CONCATENATION"}
