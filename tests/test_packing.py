"""Files packed by us, read back with the schema's own object API, which has no part in how they were made."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from tiny_tflite import File, Graph, Op, Sig, T

from tflite_ptq.model.editing import Editable
from tflite_ptq.model.packing import packed, packed_in_front
from tflite_ptq.model.tables import Stored, unpacked

WEIGHTS = np.arange(12, dtype=np.float32)


def plain(value: Any) -> Any:
    """A schema object as dicts, lists, bytes and numbers."""
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, list | tuple):
        return [plain(one) for one in value]
    if hasattr(value, "__dict__"):
        return {"kind": type(value).__name__, **{name: plain(one) for name, one in vars(value).items()}}
    return value


def whole(file: bytes) -> Any:
    return schema.ModelT.InitFromObj(schema.Model.GetRootAs(bytearray(file), 0))


@pytest.fixture(params=[0, 1, 7, 16])
def file(request: pytest.FixtureRequest, tmp_path: Path) -> bytes:
    """Two graphs, two signatures, metadata, shared weights, a name in Greek; and a length that is not aligned."""
    first = Graph(
        [T("x"), T("w", shape=(3, 4), data=WEIGHTS.tobytes()), T("v", shape=(3, 4), share="w"), T("λ", shape=(1, 3)),
         T("q", "INT8", (1, 3), scale=[0.5], zero_point=[3])],
        ["x"], ["λ"], [Op("FULLY_CONNECTED", ["x", "w", None], ["λ"]), Op("QUANTIZE", ["λ"], ["q"])],
    )  # fmt: skip
    second = Graph([T("a"), T("b")], ["a"], ["b"], [Op("RELU", ["a"], ["b"])])
    signatures = [Sig("one", {"in": "x"}, {"out": "λ"}), Sig("two", {"in": "a"}, {"out": "b"}, 1)]
    written = File([first, second], signatures, runtime="2.3.0").write(tmp_path / "m.tflite").read_bytes()
    return written + b"\0" * request.param


@pytest.mark.parametrize("pack", [packed, packed_in_front])
def test_unchanged(file: bytes, pack: Any) -> None:
    model = unpacked(file)
    made = packed(model) if pack is packed else packed_in_front(model, file)
    assert plain(whole(made)) == plain(whole(file))
    assert made[4:8] == b"TFL3"


@pytest.mark.parametrize("anew", [False, True])
def test_what_is_set_is_all_that_changes(file: bytes, anew: bool) -> None:
    model, expected = unpacked(file), whole(file)
    for one in (model, expected):
        quantization = schema.QuantizationParametersT()
        quantization.min, quantization.max = [-1.0], [2.0]
        one.subgraphs[0].tensors[3].quantization = quantization
        one.subgraphs[0].operators[0].inputs = [0, 2, -1]
        one.subgraphs[1].outputs = [0]
        one.signatureDefs[0].signatureKey = b"another"
        extra = schema.TensorT()
        extra.name, extra.shape = b"extra", [1]
        one.subgraphs[0].tensors.append(extra)
    made = packed(model) if anew else packed_in_front(model, file)
    assert plain(whole(made)) == plain(expected)
    assert (file[: len(file) // 16 * 16] in made) is not anew


def test_buffers_are_aligned_and_stay_so(file: bytes) -> None:
    """``force_align: 16`` in LiteRT's schema."""
    made = packed(unpacked(file)) + b"\0" * (len(file) % 16)
    for number in range(1, 4):  # a file that was continued can be continued
        model, buffer = unpacked(made), schema.BufferT()
        buffer.data = np.frombuffer(b"odd" * number, np.uint8)
        model.buffers.append(buffer)
        made = packed_in_front(model, made)
        assert made.index(WEIGHTS.tobytes()) % 16 == 0
        assert made.index(b"odd" * number) % 16 == 0


def test_what_stays_behind_stays_aligned(file: bytes) -> None:
    made = packed(unpacked(file)) + b"\0" * (len(file) % 16)
    for number in range(1, 9):  # what is in front is of any length
        model = unpacked(made)
        model.description = b"d" * number
        assert packed_in_front(model, made).index(WEIGHTS.tobytes()) % 16 == 0


def test_a_small_buffer_may_be_left_behind(file: bytes) -> None:
    model = unpacked(file)
    model.buffers.append(schema.BufferT())
    model.buffers[-1].data = np.ones(20_000, np.uint8)
    large = packed(model)
    model = unpacked(large)
    number = model.subgraphs[0].tensors[1].buffer
    model.buffers[number] = schema.BufferT()
    model.buffers[number].data = np.zeros(48, np.uint8)
    made = packed_in_front(model, large)
    assert large in made
    assert whole(made).buffers[number].data.tolist() == [0] * 48


def test_replaced_weights_are_not_kept(file: bytes) -> None:
    model = unpacked(file)
    model.buffers.append(schema.BufferT())
    model.buffers[-1].data = np.ones(1000, np.uint8)
    file = packed(model)
    model = unpacked(file)
    number = len(model.buffers) - 1
    model.buffers[number] = schema.BufferT()
    model.buffers[number].data = np.zeros(48, np.uint8)
    made = packed_in_front(model, file)
    assert np.ones(1000, np.uint8).tobytes() not in made
    assert whole(made).buffers[number].data.tolist() == [0] * 48


def test_a_table_inside_of_a_table_is_not_set(file: bytes) -> None:
    """It would not be known that the outer one changed."""
    quantization = unpacked(file).subgraphs[0].tensors[4].quantization
    with pytest.raises(TypeError, match="scale of a table inside of another"):
        quantization.scale = [9.0]
    other = copy.copy(quantization)
    other.scale = [9.0]
    assert (quantization.scale.tolist(), other.scale) == ([0.5], [9.0])


def test_a_table_of_another_file_is_taken_along(file: bytes, tmp_path: Path) -> None:
    tensors = [T("x"), T("y")]
    other = File([Graph(tensors, ["x"], ["y"], [Op("RELU", ["x"], ["y"])])]).write(tmp_path / "o.tflite").read_bytes()
    model = unpacked(file)
    model.subgraphs[0].tensors.append(unpacked(other).subgraphs[0].tensors[1])
    found = whole(packed_in_front(model, file)).subgraphs[0].tensors[-1]
    assert plain(found) == plain(whole(other).subgraphs[0].tensors[1])


def test_a_copy_is_another(file: bytes) -> None:
    tensor = unpacked(file).subgraphs[0].tensors[0]
    assert isinstance(tensor, Stored)
    other = copy.copy(tensor)
    other.name = b"renamed"
    assert (tensor.name, other.name) == (b"x", b"renamed")
    assert tensor.is_of(file)
    assert not other.is_of(file)


def test_a_field_that_there_is_not(file: bytes) -> None:
    with pytest.raises(AttributeError, match="Tensor has no field colour"):
        unpacked(file).subgraphs[0].tensors[0].colour  # noqa: B018


def test_what_is_written_for_calibration_leaves_the_model_alone(tmp_path: Path) -> None:
    """It is used for the next range method, and for the next variant."""
    graph = Graph([T("x"), T("y"), T("z")], ["x"], ["z"], [Op("RELU", ["x"], ["y"]), Op("NEG", ["y"], ["z"])])
    file = File([graph], [Sig("serve", {"in": "x"}, {"out": "z"})]).write(tmp_path / "m.tflite").read_bytes()
    model = Editable(file)
    ranged, shown = whole(model.with_ranges({0: (-1, 2), 1: (0, 2)})), whole(model.showing([1]))
    assert [t.quantization and t.quantization.max for t in ranged.subgraphs[0].tensors] == [[2.0], [2.0], None]
    assert ranged.signatureDefs[0].signatureKey == b"serve"
    # A signature names the outputs that a runner of it sees: there are others now.
    assert list(shown.subgraphs[0].outputs) == [1] and not shown.signatureDefs
    assert plain(whole(model.to_bytes())) == plain(whole(file))


def test_ranges_are_patched_in_where_each_tensor_has_a_quantization(file: bytes) -> None:
    model, expected = Editable(file), whole(file)
    q, x = model.named()["q"], model.named()["x"]
    parameters = schema.QuantizationParametersT()
    parameters.min, parameters.max = [-0.25], [3.5]
    expected.subgraphs[0].tensors[q].quantization = parameters
    patched = model.with_ranges({q: (-0.25, 3.5)})
    assert plain(whole(patched)) == plain(expected)
    assert len(patched) < len(file) + 64 and sum(a != b for a, b in zip(file, patched, strict=False)) <= 4
    assert Editable(patched).with_ranges({q: (-0.25, 3.5)}) != patched  # again, behind the first
    assert plain(whole(Editable(patched).with_ranges({q: (-0.25, 3.5)}))) == plain(expected)
    # The input has none, so the file is packed.
    expected.subgraphs[0].tensors[x].quantization = parameters
    assert plain(whole(model.with_ranges({q: (-0.25, 3.5), x: (-0.25, 3.5)}))) == plain(expected)
    # What was changed before is in the result.
    model.set_constant(model.named()["w"], np.ones((3, 4), np.float32))
    changed = Editable(model.with_ranges({q: (-0.25, 3.5)}))
    assert changed.constant(changed.named()["w"]).sum() == 12
    assert model.copy().with_ranges({q: (-0.25, 3.5)}) == model.with_ranges({q: (-0.25, 3.5)})
