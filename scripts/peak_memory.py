"""The peak memory of a process and its children, watched from outside."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

import psutil

_INTERVAL_S = 0.02


def run_and_watch(command: Sequence[str], environment: Mapping[str, str]) -> tuple[int, int]:
    """The exit code, and the sum of the largest resident set of each process of the tree, in bytes."""
    peaks: dict[int, int] = {}
    with subprocess.Popen(command, env=dict(environment)) as process:
        root = psutil.Process(process.pid)
        while process.poll() is None:
            try:
                for one in (root, *root.children(recursive=True)):
                    peaks[one.pid] = max(peaks.get(one.pid, 0), _largest_resident_set(one))
            except psutil.Error:
                pass  # it ended while we looked
            try:
                process.wait(_INTERVAL_S)
            except subprocess.TimeoutExpired:
                continue
    return process.returncode, sum(peaks.values())


def _largest_resident_set(process: psutil.Process) -> int:
    """Bytes; on Linux the kernel's own high-water mark, so that nothing between two looks is missed."""
    status = Path(f"/proc/{process.pid}/status")
    try:
        for line in status.read_text(encoding="ascii", errors="replace").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    resident: int = process.memory_info().rss
    return resident
