"""``debug.json`` and the node data that Model Explorer lays over the graph: written whole or not at all.

Node data of Model Explorer (``GraphNodeData`` in ``model_explorer/node_data_builder.py``, google-ai-edge): ``results``
maps an output tensor's name to ``{"value": number}``; of ``thresholds`` the first one not below a value colours it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from tflite_ptq import atomic
from tflite_ptq.debug_result import DebugReport

JSON_NAME = "debug.json"
SHARE_NAME = "model-explorer-error-share.json"
SQNR_NAME = "model-explorer-sqnr.json"

# Upper bounds, in percent and dB. What is above the last one stays white.
_SHARES = ((1.0, "#e8f5e9"), (5.0, "#fff9c4"), (20.0, "#ffcc80"), (100.0, "#ef9a9a"))
_SQNRS = ((15.0, "#ef9a9a"), (25.0, "#ffcc80"), (35.0, "#fff9c4"), (1000.0, "#e8f5e9"))


def write(report: DebugReport, folder: Path) -> tuple[str, ...]:
    """Writes the three files into ``folder``, which is made where it is missing, and returns their names.

    Raises ``DiskFullError``, ``OutputError``; ``ValueError`` for NaN, a bug of whoever measured.
    """
    atomic.write(folder / JSON_NAME, _json(report.model_dump()))
    shares = {x.name: 100 * x.error_share for x in report.layers if x.error_share is not None}
    tensors = [*report.inputs, *(layer.output for layer in report.layers)]
    sqnrs = {x.tensor: x.closeness.sqnr_db for x in tensors if x.closeness.sqnr_db is not None}
    atomic.write(folder / SHARE_NAME, _json(node_data(shares, _SHARES)))
    atomic.write(folder / SQNR_NAME, _json(node_data(sqnrs, _SQNRS)))
    return JSON_NAME, SHARE_NAME, SQNR_NAME


def node_data(values: Mapping[str, float], thresholds: Sequence[tuple[float, str]]) -> dict[str, object]:
    """Model Explorer's node data for one graph. ``thresholds``: (largest value, CSS colour), ascending."""
    return {
        "results": {name: {"value": value} for name, value in values.items()},
        "thresholds": [{"value": limit, "bgColor": colour} for limit, colour in thresholds],
    }


def _json(data: object) -> bytes:
    return f"{json.dumps(data, indent=2, ensure_ascii=False, allow_nan=False)}\n".encode()
