"""Names of inputs and outputs as every stage uses them (pure)."""

from __future__ import annotations

import re
from collections.abc import Sequence


def plain_names(names: Sequence[str]) -> tuple[str, ...]:
    """Names that survive TensorFlow's signatures unchanged: letters, digits and underscores, each used once."""
    chosen: list[str] = []
    for name in names:
        plain = re.sub(r"[^A-Za-z0-9_]", "_", name)
        plain = plain if re.match(r"[A-Za-z]", plain) else f"t{plain}"
        while plain in chosen:
            plain += "_"
        chosen.append(plain)
    return tuple(chosen)
