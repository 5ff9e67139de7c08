"""What the machine did while latency was measured, and what of it makes the figures doubtful.

``Machine.now`` reads counters of the operating system before and after; ``warnings`` compares the two (pure). What a
system does not tell (``/sys`` is Linux's) is not warned of.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil

_OTHER_CORES = 0.15
"""So much of one core may go to other work: what an idle desktop or server does."""
_STOLEN = 0.01


@dataclass(frozen=True)
class Machine:
    """Counters since boot at one moment, and settings. ``None``: the system does not tell.

    ``busy_s`` is of all processors together, ``own_s`` of this process and its children that have ended, both CPU
    seconds; ``stolen_s`` is what a hypervisor kept. ``quota`` is the cores that the cgroup allows.
    """

    at_s: float
    busy_s: float
    own_s: float
    stolen_s: float
    processors: int
    governors: tuple[str, ...] = ()
    capped: tuple[int, int] | None = None
    thermal_throttles: int | None = None
    quota: float | None = None
    quota_throttles: int | None = None

    @classmethod
    def now(cls, root: Path = Path("/")) -> Machine:
        """As the system tells it; ``root`` is where ``/sys`` and ``/proc`` are looked for."""
        used, own = psutil.cpu_times(), os.times()
        processors = sorted((root / "sys/devices/system/cpu").glob("cpu[0-9]*"))
        quotas, throttles = _cgroup(root)
        heat = [n for p in processors if (n := _number(p / "thermal_throttle/core_throttle_count")) is not None]
        return cls(
            at_s=time.monotonic(),
            busy_s=sum(getattr(used, kind, 0.0) for kind in ("user", "nice", "system", "irq", "softirq")),
            own_s=own.user + own.system + own.children_user + own.children_system,
            stolen_s=getattr(used, "steal", 0.0),
            processors=psutil.cpu_count() or 1,
            governors=tuple(sorted({name for p in processors if (name := _text(p / "cpufreq/scaling_governor"))})),
            capped=_cap(processors),
            thermal_throttles=sum(heat) if heat else None,
            quota=min(quotas, default=None),
            quota_throttles=throttles,
        )


def warnings(before: Machine, after: Machine, threads: int) -> tuple[str, ...]:
    """Sentences on what happened between the two; ``threads`` is the most that were asked for."""
    return tuple(_warnings(before, after, threads))


def _warnings(before: Machine, after: Machine, threads: int) -> Iterator[str]:
    seconds = after.at_s - before.at_s
    if seconds <= 0:
        return
    others = (after.busy_s - before.busy_s - (after.own_s - before.own_s)) / seconds
    if others > _OTHER_CORES:
        yield (
            f"other work took {others:.1f} of the machine's {after.processors} cores while latency was measured: end "
            "it, or measure where nothing else runs"
        )
    stolen = (after.stolen_s - before.stolen_s) / (seconds * after.processors)
    if stolen > _STOLEN:
        yield (
            f"the hypervisor kept {100 * stolen:.0f} % of the processors' time for others: measure on a machine of "
            "your own"
        )
    restless = [name for name in after.governors if name != "performance"]
    if restless:
        yield (
            f"the CPU frequency governor is {' and '.join(restless)}: the clock follows the load; for steady figures "
            "set performance (cpupower frequency-set -g performance)"
        )
    if after.capped is not None:
        yield f"the CPU's clock is limited to {after.capped[0]} of {after.capped[1]} MHz (power or heat settings)"
    if (after.thermal_throttles or 0) > (before.thermal_throttles or 0):
        yield "the CPU slowed itself down because of heat while latency was measured: cool it, or measure for shorter"
    if after.quota is not None and after.quota < threads:
        yield f"a cgroup limits this process to {after.quota:.3g} cores, fewer than the {threads} threads asked for"
    held_back = (after.quota_throttles or 0) - (before.quota_throttles or 0)
    if held_back > 0:
        yield (
            f"the cgroup's CPU limit held the processes back {held_back} times while latency was measured: raise it "
            "(docker run --cpus)"
        )


def _cap(processors: list[Path]) -> tuple[int, int] | None:
    """(allowed, possible) MHz of the processor that is allowed least of its clock; ``None`` where none is limited."""
    clocks = [(_number(p / "cpufreq/scaling_max_freq"), _number(p / "cpufreq/cpuinfo_max_freq")) for p in processors]
    capped = [
        (low // 1000, high // 1000) for low, high in clocks if low is not None and high is not None and low < high
    ]
    return min(capped, key=lambda pair: pair[0] / pair[1], default=None)


def _cgroup(root: Path) -> tuple[list[float], int | None]:
    """Cores allowed by this process's control group and those around it, and how often a limit held any back."""
    quotas, throttles = [], []
    for line in (_text(root / "proc/self/cgroup") or "").splitlines():
        _, controllers, place = line.split(":", 2)
        if controllers and "cpu" not in controllers.split(","):
            continue
        base = root / "sys/fs/cgroup" / controllers  # version 2 has no controllers here and one tree
        folder = base / place.lstrip("/")
        for group in (folder, *folder.parents):
            quota, period = _limit(group)
            if quota is not None and period:
                quotas.append(quota / period)
            counts = dict(entry.split() for entry in (_text(group / "cpu.stat") or "").splitlines())
            if "nr_throttled" in counts:
                throttles.append(int(counts["nr_throttled"]))
            if group == base:
                break
    return quotas, max(throttles, default=None)


def _limit(group: Path) -> tuple[int | None, int | None]:
    """Quota and period in microseconds, of either version of control groups; no quota is ``None``."""
    words = (_text(group / "cpu.max") or "").split()
    if len(words) == 2:
        return (int(words[0]) if words[0].isdigit() else None), int(words[1])
    quota = _number(group / "cpu.cfs_quota_us")
    return (quota if quota is not None and quota > 0 else None), _number(group / "cpu.cfs_period_us")


def _text(path: Path) -> str | None:
    try:
        return path.read_text(encoding="ascii", errors="replace").strip()
    except OSError:
        return None


def _number(path: Path) -> int | None:
    try:
        return int(_text(path) or "")
    except ValueError:
        return None
