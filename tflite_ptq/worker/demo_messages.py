"""What the demo's parent asks of its child and what comes back. No numpy here: the parent imports this."""

from __future__ import annotations

from typing import Annotated, Literal, Union

from pydantic import Field, TypeAdapter

from tflite_ptq.result import Frozen


class WriteDigits(Frozen):
    """Write the scans as ``folder/train/<digit>/NNNN.png`` and ``folder/test/<digit>/NNNN.png``."""

    job: Literal["write"] = "write"
    folder: str


class Written(Frozen):
    """How many images were written."""

    train: int
    test: int


class Train(Frozen):
    """Train on ``folder/train`` and save ``folder/model.keras``."""

    job: Literal["train"] = "train"
    folder: str


class Trained(Frozen):
    """``top1`` is the share of ``folder/test`` that the saved model gets right; ``parameters`` counts its weights."""

    top1: float
    parameters: int


DemoRequest: TypeAdapter[WriteDigits | Train] = TypeAdapter(
    Annotated[Union[WriteDigits, Train], Field(discriminator="job")]
)
