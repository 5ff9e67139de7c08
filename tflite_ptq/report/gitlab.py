"""Complaints as GitLab's code quality report, which merge requests show as a list of what is new and mended. Pure.

Format: "Code Quality report format" in GitLab's documentation, a subset of Code Climate's.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence

from tflite_ptq.report.complaints import Complaint

NAME = "gl-code-quality.json"


def render(complaints: Sequence[Complaint], recipe: str) -> str:
    """A JSON array with an entry a complaint; empty where nothing is wrong, so that GitLab shows old ones as mended.

    ``recipe`` is the recipe's path from the repository's root.
    """
    entries = [
        {
            "description": complaint.message,
            "check_name": f"tflite-ptq/{complaint.check}",
            "fingerprint": _fingerprint(complaint, recipe),
            "severity": "critical" if complaint.check == "error" else "major",
            "location": {"path": recipe, "lines": {"begin": complaint.line or 1}},
        }
        for complaint in complaints
    ]
    return f"{json.dumps(entries, indent=2, ensure_ascii=False)}\n"


def _fingerprint(complaint: Complaint, recipe: str) -> str:
    # A broken limit is the same complaint whatever was measured and wherever it moved; of errors one variant has many.
    parts = [recipe, complaint.variant or "", complaint.check]
    if complaint.check == "error":
        parts.append(complaint.message)
    return hashlib.sha256("\0".join(parts).encode(errors="backslashreplace")).hexdigest()
