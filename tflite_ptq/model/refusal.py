"""LiteRT's reasons for refusing a file, in plain words. Pure: text in, text out."""

from __future__ import annotations

import re
from pathlib import Path

_CUSTOM = re.compile(r"unresolved custom op: ([\w.:/-]+?)\.?(?:\s|$)")
_SELECT = re.compile(r"Node number \d+ \((Flex\w+)\)")
_VERSION = re.compile(r"Didn't find op for builtin opcode '(\w+)' version '(\d+)'")
_NODE = re.compile(r"Node number \d+ \((\w+)\) failed to (?:prepare|invoke)")


def explain(path: Path, reason: str) -> str:
    """The message for ``path``, which LiteRT refused with ``reason``: what is wrong and what to do next."""
    if "Flatbuffer" in reason or "allocation is null" in reason:
        return f"{path}: not a .tflite file, or a truncated one; convert or download it again"
    select = _SELECT.search(reason)
    if select or "Select TensorFlow op" in reason:
        named = f" ({select.group(1)})" if select else ""
        return (
            f"{path}: the model holds TensorFlow operators{named} that LiteRT runs only with the Flex delegate; "
            "replace the layers that need them, or convert with built-in operators only"
        )
    custom = _CUSTOM.search(reason)
    if custom:
        return (
            f"{path}: custom operator '{custom.group(1)}' has no kernel here; "
            "convert the model without it, or without --allow_custom_ops"
        )
    version = _VERSION.search(reason)
    if version:
        return (
            f"{path}: this LiteRT has no kernel for {version.group(1)} version {version.group(2)}; "
            "upgrade ai-edge-litert, or convert with an older converter"
        )
    node = _NODE.search(reason)
    where = f" at operator {node.group(1)}" if node else ""
    return f"{path}: LiteRT cannot use the model{where}: {' '.join(reason.split())}"
