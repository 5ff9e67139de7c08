"""The shapes that a model is converted with: its own, with the recipe's in the place of open dimensions (pure)."""

from __future__ import annotations

from collections.abc import Sequence

from tflite_ptq.errors import ModelError
from tflite_ptq.model.plain_names import plain_names
from tflite_ptq.recipe.schema import Model
from tflite_ptq.result import TensorInfo


def fixed_inputs(model: Model, inputs: Sequence[TensorInfo]) -> tuple[TensorInfo, ...]:
    """The inputs, under their plain names, with every dimension known. Raises what ``fixed_shape`` and
    ``refuse_unknown_inputs`` raise."""
    originals = {plain_names([name])[0]: name for name in model.inputs}
    fixed = tuple(
        info.model_copy(
            update={"shape": fixed_shape(model, info.name, info.shape, originals.get(info.name, info.name))}
        )
        for info in inputs
    )
    refuse_unknown_inputs(model, [originals.get(info.name, info.name) for info in inputs])
    return fixed


def fixed_shape(model: Model, name: str, known: tuple[int, ...] | None, original: str) -> tuple[int, ...]:
    """The shape of one input, batch dimension included: an open batch is 1, other open dimensions are the recipe's.

    ``known`` has -1 for open dimensions and is ``None`` where not even their number is known; the recipe may call the
    input ``name`` or ``original``. Raises ``ModelError`` where a dimension stays open, or where the recipe contradicts
    a known one.
    """
    override = model.inputs.get(original) or model.inputs.get(name)
    ask = f"fix it in the recipe: model: {{inputs: {{{name}: {{shape: [1, ...]}}}}}}"
    if known is None:
        if override is None:
            raise ModelError(f"{model.path}: input '{name}' has no known number of dimensions; {ask}")
        return override.shape
    if override is not None:
        fits = len(override.shape) == len(known) and all(
            size in (-1, want) for size, want in zip(known, override.shape, strict=True)
        )
        if not fits:
            raise ModelError(
                f"{model.path}: model.inputs.{name}.shape: the recipe says {list(override.shape)}, the model takes "
                f"{shown(known)}; keep the known dimensions"
            )
        return override.shape
    shape = tuple(1 if axis == 0 and size == -1 else size for axis, size in enumerate(known))
    if -1 in shape:
        raise ModelError(f"{model.path}: input '{name}' has unknown dimensions: {shown(known)}; {ask}")
    return shape


def refuse_unknown_inputs(model: Model, originals: Sequence[str]) -> None:
    """Raises ``ModelError`` where the recipe fixes an input that the model does not have, by its own name or plain."""
    known = {*originals, *plain_names(originals)}
    unknown = sorted(set(model.inputs) - known)
    if unknown:
        raise ModelError(
            f"{model.path}: model.inputs: the model has no input '{unknown[0]}' ({', '.join(sorted(known))})"
        )


def shown(shape: Sequence[int]) -> str:
    """``[?, 8, 8, 1]``: -1 is an open dimension."""
    return "[" + ", ".join("?" if size == -1 else str(size) for size in shape) + "]"
