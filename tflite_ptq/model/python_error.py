"""What went wrong in a model's own Python, in a line: frameworks wrap it in stacks and lists of arguments (pure)."""

from __future__ import annotations

import re

_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
_FRAME = re.compile(r'File "(?P<file>.+)", line (?P<line>\d+), in ')
_CALLING = "Exception encountered when calling "
_ARGUMENTS = "Arguments received by "


def cause_of(error: BaseException) -> str:
    """The message without AutoGraph's stack, of which the innermost place is kept, and without Keras's arguments."""
    place, said, is_code = "", [], False
    for line in map(str.strip, _COLOUR.sub("", str(error)).splitlines()):
        frame = _FRAME.match(line)
        if frame:
            place = f"{frame['file']}:{frame['line']}: "
        elif line.startswith(_ARGUMENTS):
            break
        elif line and not is_code and line != "in user code:":
            said.append(line)
        is_code = frame is not None
    if not said:
        return type(error).__name__
    # Keras says in one line which layer, and in the next what.
    return place + " ".join(said[: 2 if _CALLING in said[0] else 1])
