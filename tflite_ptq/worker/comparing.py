"""The runtime child's jobs for ``debug``: activations and outputs of quantized files beside the float file's."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from tflite_ptq.data.reader import Reader, stream
from tflite_ptq.debug_result import Closeness, LayerDebug, TensorError
from tflite_ptq.errors import DataError, MeasurementError
from tflite_ptq.measure.environment import cores
from tflite_ptq.measure.fidelity import noise_power, power, summarize
from tflite_ptq.measure.layer_error import ErrorOfTensor, Pair, pairs, tensor_errors, weight_sqnr_db
from tflite_ptq.model.editing import Editable, Node
from tflite_ptq.model.flatbuffer import describe
from tflite_ptq.quantize.correction.layers import match
from tflite_ptq.quantize.correction.samples import Floats, Outputs, Sample, as_inputs
from tflite_ptq.quantize.exclude_pattern import exclude_patterns
from tflite_ptq.worker.chosen import chosen_samples, spread
from tflite_ptq.worker.debug_messages import (
    ComparedLayer,
    CompareLayers,
    CompareOutputs,
    LayersCompared,
    OutputsCompared,
    Yardstick,
)

_MOVES_VALUES = frozenset(
    [
        "BATCH_TO_SPACE_ND",
        "BROADCAST_TO",
        "DEPTH_TO_SPACE",
        "EXPAND_DIMS",
        "GATHER",
        "GATHER_ND",
        "PACK",
        "RESHAPE",
        "REVERSE_V2",
        "SHAPE",
        "SLICE",
        "SPACE_TO_BATCH_ND",
        "SPACE_TO_DEPTH",
        "SPLIT",
        "SPLIT_V",
        "SQUEEZE",
        "STRIDED_SLICE",
        "TILE",
        "TRANSPOSE",
        "UNPACK",
    ]
)
"""Operators that compute nothing: their output has the scale of their input, and its error."""

_NOT_FINITE = Closeness(error="NaN or infinity", non_finite=True)


@dataclass(frozen=True)
class _Prepared:
    """Samples by input name, the inputs' names in order, the float model's outputs a sample."""

    samples: tuple[Sample, ...]
    names: tuple[str, ...]
    wanted: tuple[list[Floats], ...]
    subset: Literal["evaluation", "calibration"]


def compare_layers(request: CompareLayers) -> LayersCompared:
    """Errors of all activations and weights. Raises ``MeasurementError``."""
    prepared = _prepared(request.yardstick.model_dump_json())
    reference = Editable(Path(request.yardstick.reference).read_bytes())
    quantized = Editable(Path(request.followed).read_bytes())
    as_made = Editable(Path(request.model).read_bytes())
    watched = pairs(reference, quantized)
    errors = _errors(reference, quantized, watched, prepared)
    from_float = {
        node.outputs[0]
        for node in quantized.nodes()
        if node.name == "QUANTIZE" and quantized.dtype(node.inputs[0]) == "float32"
    }
    integer = {
        pair.name
        for pair in watched
        if quantized.affine(pair.quantized) is not None
        and (pair.reference in reference.inputs or pair.quantized not in from_float)
    }
    # What a layer in float hands out as it is has no error of integer outputs.
    handed_out = [p for p in pairs(reference, as_made) if p.reference in reference.outputs and p.name not in integer]
    errors |= _errors(reference, as_made, handed_out, prepared) if handed_out else {}
    weights = {one.name: weight_sqnr_db(one.weights, one.quantized_weights) for one in match(reference, quantized)[0]}
    patterns = exclude_patterns(reference)
    layers = []
    for node in reference.nodes():
        if not node.outputs or reference.dtype(node.outputs[0]) != "float32":
            continue
        name = reference.name(node.outputs[0])
        left = name in errors and name not in integer
        layer = LayerDebug(
            name=name,
            op=node.name,
            exclude=patterns[node.position],
            output=_shown(name, errors.get(name)),
            weight_sqnr_db=weights.get(name),
            skipped="it only moves values"
            if node.name in _MOVES_VALUES
            else "it is in float already"
            if left
            else None,
        )
        layers.append(
            ComparedLayer(
                layer=layer,
                outputs=tuple(reference.name(output) for output in node.outputs),
                suspicion=_suspicion(reference, node, layer, errors),
                in_float=left,
            )
        )
    return LayersCompared(
        whole=_closeness(as_made, prepared),
        inputs=tuple(_shown(reference.name(i), errors.get(reference.name(i))) for i in reference.inputs),
        layers=tuple(layers),
        computed=tuple(reference.name(output) for node in reference.nodes() for output in node.outputs),
        samples=len(prepared.samples),
        subset=prepared.subset,
    )


def _errors(
    reference: Editable, quantized: Editable, watched: Sequence[Pair], prepared: _Prepared
) -> dict[str, ErrorOfTensor]:
    samples = zip(
        as_inputs(reference, prepared.names, prepared.samples),
        as_inputs(quantized, prepared.names, prepared.samples),
        strict=True,
    )
    return tensor_errors(reference, quantized, watched, samples)


def compare_outputs(request: CompareOutputs) -> OutputsCompared:
    """Closeness of each file's outputs, several at a time; a file that fails does not cost the others."""
    prepared = _prepared(request.yardstick.model_dump_json())

    def compared(path: str) -> Closeness:
        try:
            return _closeness(Editable(Path(path).read_bytes()), prepared)
        except MeasurementError as error:
            return Closeness(error=str(error))

    with ThreadPoolExecutor(cores()) as pool:
        found = list(pool.map(compared, request.models.values()))
    return OutputsCompared(models=dict(zip(request.models, found, strict=True)))


@functools.lru_cache(maxsize=1)
def _prepared(yardstick_json: str) -> _Prepared:
    # Cached: a model of fifty layers is compared a hundred times on the same samples.
    yardstick = Yardstick.model_validate_json(yardstick_json)
    chosen = chosen_samples(yardstick.dataset)
    refs = chosen.evaluation or chosen.calibration
    taken = spread(refs, yardstick.samples)
    reader = Reader(yardstick.dataset, yardstick.inputs)
    samples = tuple(s for _, s in stream(reader, taken, yardstick.dataset.on_bad_sample, lambda ref, reason: None))
    if not samples:
        raise DataError("dataset: no sample to compare the models on; debug needs evaluation or calibration samples")
    path = Path(yardstick.reference)
    reference = Editable(path.read_bytes())
    names = tuple(info.name for info in describe(path).inputs)
    run = Outputs(reference)
    wanted = tuple(run(values) for values in as_inputs(reference, names, samples))
    return _Prepared(samples, names, wanted, "evaluation" if chosen.evaluation else "calibration")


def _closeness(model: Editable, prepared: _Prepared) -> Closeness:
    run = Outputs(model)
    noise = []
    for wanted, values in zip(prepared.wanted, as_inputs(model, prepared.names, prepared.samples), strict=True):
        noise.append(noise_power(_rows(wanted), _rows(run(values))))
    if not np.isfinite(noise).all():
        return _NOT_FINITE
    signal = [power(_rows(wanted)) for wanted in prepared.wanted]
    fidelity = summarize(np.concatenate(signal), np.concatenate(noise), None)
    return Closeness(sqnr_db=fidelity.sqnr_db, exact=fidelity.exact)


def _rows(outputs: Sequence[Floats]) -> list[Floats]:
    return [values.reshape(1, -1) for values in outputs]


def _shown(name: str, error: ErrorOfTensor | None) -> TensorError:
    if error is None:
        return TensorError(tensor=name, closeness=Closeness(error="the quantizer renamed or fused this tensor"))
    return TensorError(
        tensor=name,
        closeness=_NOT_FINITE if error.non_finite else Closeness(sqnr_db=error.sqnr_db, exact=error.exact),
        mean_error=error.mean_error,
        max_error=error.max_error,
        bias_share=error.bias_share,
        clipped_below=error.clipped_below,
        clipped_above=error.clipped_above,
        crest_factor=error.crest_factor,
    )


def _suspicion(reference: Editable, node: Node, layer: LayerDebug, errors: Mapping[str, ErrorOfTensor]) -> float:
    """The growth of noise over signal from the worst input to the output, plus that of the weights."""

    def noise(names: Sequence[str]) -> float:
        known = [errors[name].sqnr_db for name in names if name in errors]
        return max((10 ** (-sqnr / 10) for sqnr in known if sqnr is not None), default=0.0)

    grown = noise([layer.name]) - noise([reference.name(i) for i in node.inputs if i >= 0])
    weights = 0.0 if layer.weight_sqnr_db is None else 10 ** (-layer.weight_sqnr_db / 10)
    return float(max(grown, 0.0) + weights)
