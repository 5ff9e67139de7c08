"""What a child process says, one JSON object a line: how far it is, and how its job ended."""

from __future__ import annotations

from typing import Annotated, Literal, Union

from pydantic import Field, TypeAdapter

from tflite_ptq.result import Frozen


class Progress(Frozen):
    """The child is alive and has done ``done`` of ``total``."""

    reply: Literal["progress"] = "progress"
    done: int
    total: int


class Done(Frozen):
    """The job is done; ``result`` is the JSON of the job's answer."""

    reply: Literal["done"] = "done"
    result: str


class Failed(Frozen):
    """The job met a user's error: the class of ``tflite_ptq.errors`` and the message."""

    reply: Literal["failed"] = "failed"
    error: str
    message: str


class Bug(Frozen):
    """The job met a bug."""

    reply: Literal["bug"] = "bug"
    traceback: str


Reply: TypeAdapter[Progress | Done | Failed | Bug] = TypeAdapter(
    Annotated[Union[Progress, Done, Failed, Bug], Field(discriminator="reply")]
)
