"""Mean inputs of a quantized model's layers, each with the layers before it already corrected.

The model is run in segments: what lies between one layer's input and the next layer's is cut out, fed with what the
segment before left, and run over all samples. So the whole network is computed once, not once a layer, and every
activation is held only while an operator ahead still needs it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from tflite_ptq.errors import MeasurementError
from tflite_ptq.model.editing import Editable
from tflite_ptq.model.tap import Tap, watching
from tflite_ptq.quantize.correction.layers import Layer
from tflite_ptq.quantize.correction.response import Floats

Array = NDArray[np.generic]
_MOST_BYTES = 1 << 30


def samples_that_fit(model: Editable, wanted: int) -> int:
    """How many samples' activations fit in a gigabyte at the widest place of the network; at least one."""
    sizes = {i: int(np.prod(model.shape(i), dtype=np.int64)) * _item_bytes(model, i) for i in _computed(model)}
    last_use = _last_uses(model)
    live, widest = set(model.inputs), 1
    for node in model.nodes():
        live |= set(node.outputs) & sizes.keys()
        widest = max(widest, sum(sizes.get(i, 0) for i in live))
        live = {i for i in live if last_use.get(i, -1) > node.position}
    return max(1, min(wanted, _MOST_BYTES // widest))


def mean_maps(model: Editable, tensors: Collection[int], inputs: Sequence[Sequence[Array]]) -> dict[int, Floats]:
    """The mean over samples of each of a float model's tensors, without the batch. ``inputs`` as for ``walk``.

    Raises ``MeasurementError`` where LiteRT cannot run the model, or a tensor's shape depends on the sample.
    """
    watched = sorted(tensors)
    tap = watching(model, watched)
    total = {tensor: np.zeros(model.shape(tensor)[1:], np.float64) for tensor in watched}
    for sample in inputs:
        tap.run(sample)
        for position, tensor in enumerate(watched):
            _add(total[tensor], tap.view(position), model.name(tensor))
    return {tensor: value / len(inputs) for tensor, value in total.items()}


def walk(
    model: Editable,
    layers: Sequence[Layer],
    inputs: Sequence[Sequence[Array]],
    correct: Callable[[Layer, Floats], None],
) -> None:
    """Calls ``correct(layer, mean input)`` for each layer in execution order; ``correct`` edits ``model`` at once.

    ``inputs``: per sample, the model's inputs in their own dtypes and shapes (1, ...). The mean input is the mean over
    samples of the layer's real-valued input map, without the batch. Raises ``MeasurementError`` as ``mean_maps``.
    """
    last_use = _last_uses(model)
    live: dict[int, list[Array]] = {
        tensor: [sample[position] for sample in inputs] for position, tensor in enumerate(model.inputs)
    }
    done = 0
    for layer in layers:
        position = layer.node.position
        if position > done:
            live |= _run_segment(model, done, position, live, last_use)
            done = position
            live = {tensor: values for tensor, values in live.items() if last_use.get(tensor, -1) >= position}
        correct(layer, _mean_real(model, layer.quantized_input, live[layer.quantized_input]))


def _run_segment(
    model: Editable, first: int, last: int, live: Mapping[int, list[Array]], last_use: Mapping[int, int]
) -> dict[int, list[Array]]:
    nodes = model.nodes()[first:last]
    consumed = {i for node in nodes for i in node.inputs}
    fed = [tensor for tensor in live if tensor in consumed]
    kept = [i for node in nodes for i in node.outputs if last_use.get(i, -1) >= last]
    if not kept:
        return {}
    # The file may leave the shape of what is fed open, and a segment cannot know what the operators before make of it.
    shapes = [live[tensor][0].shape for tensor in fed]
    tap = Tap(model.segment(first, last, fed, kept), fed, kept, shapes)
    found: dict[int, list[Array]] = {tensor: [] for tensor in kept}
    for sample in _rows([live[tensor] for tensor in fed]):
        tap.run(sample)
        for slot, tensor in enumerate(kept):
            found[tensor].append(tap.view(slot).copy())
    return found


def _rows(columns: Sequence[Sequence[Array]]) -> Iterator[list[Array]]:
    return (list(row) for row in zip(*columns, strict=True))


def _mean_real(model: Editable, tensor: int, values: Sequence[Array]) -> Floats:
    total = np.zeros(values[0].shape[1:], np.float64)
    for value in values:
        _add(total, value, model.name(tensor))
    mean: Floats = total / len(values)
    affine = model.affine(tensor)
    return mean if affine is None else affine.scale[0] * (mean - affine.zero_point[0])


def _add(total: Floats, value: Array, name: str) -> None:
    """Adds the mean over the first axis: one sample, or the rows that SPACE_TO_BATCH_ND or RESHAPE made of it."""
    mean = value[0] if len(value) == 1 else value.mean(axis=0, dtype=np.float64)
    if mean.shape != total.shape:
        raise MeasurementError(f"the shape of '{name}' depends on the sample: {total.shape}, then {mean.shape}")
    total += mean


def _last_uses(model: Editable) -> dict[int, int]:
    return {i: node.position for node in model.nodes() for i in node.inputs}


def _computed(model: Editable) -> list[int]:
    return [*model.inputs, *(i for node in model.nodes() for i in node.outputs)]


def _item_bytes(model: Editable, tensor: int) -> int:
    return np.dtype(model.dtype(tensor)).itemsize
