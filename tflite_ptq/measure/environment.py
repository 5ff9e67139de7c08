"""Where the figures come from: versions, machine, cores. Imports neither TensorFlow nor numpy."""

from __future__ import annotations

import os
import platform
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from tflite_ptq.result import Environment


def environment() -> Environment:
    """This machine and the installed versions; a package that is not installed is None."""
    return Environment(
        tool=_version("tflite-ptq") or "unknown",
        python=platform.python_version(),
        platform=platform.platform(),
        machine=platform.machine(),
        cpu=_cpu(),
        cores=cores(),
        tensorflow=_version("tensorflow"),
        ai_edge_litert=_version("ai-edge-litert"),
        numpy=_version("numpy"),
    )


def cores() -> int:
    """How many processors this process may use (a container or taskset may allow fewer than there are)."""
    # By platform, not by hasattr: that is the form type checkers follow.
    if sys.platform == "linux":
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    for line in lines:
        key, _, value = line.partition(":")
        if key.strip() in ("model name", "Model", "Hardware") and value.strip():
            return value.strip()
    return platform.processor() or platform.machine()
