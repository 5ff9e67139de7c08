"""Counters of a machine before and after -> warnings; and a made-up /sys and /proc -> counters."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tflite_ptq.measure.machine import Machine, warnings

QUIET = Machine(at_s=100.0, busy_s=50.0, own_s=5.0, stolen_s=1.0, processors=4)
LATER = replace(QUIET, at_s=110.0, busy_s=60.0, own_s=15.0)
"""Ten seconds on, one core busy, all of it ours."""


@pytest.mark.parametrize(
    ("before", "after", "threads", "expected"),
    [
        (QUIET, LATER, 4, ()),
        (QUIET, QUIET, 1, ()),
        (
            QUIET,
            replace(LATER, busy_s=75.0),  # 25 s busy, 10 of them ours
            1,
            (
                "other work took 1.5 of the machine's 4 cores while latency was measured: end it, or measure where "
                "nothing else runs",
            ),
        ),
        (QUIET, replace(LATER, busy_s=61.4), 1, ()),  # 0.14 cores: what an idle system does
        (
            QUIET,
            replace(LATER, stolen_s=3.0),  # 2 of 40 processor seconds
            1,
            ("the hypervisor kept 5 % of the processors' time for others: measure on a machine of your own",),
        ),
        (QUIET, replace(LATER, governors=("performance",)), 1, ()),
        (
            QUIET,
            replace(LATER, governors=("performance", "powersave")),
            1,
            (
                "the CPU frequency governor is powersave: the clock follows the load; for steady figures set "
                "performance (cpupower frequency-set -g performance)",
            ),
        ),
        (
            QUIET,
            replace(LATER, capped=(1200, 3400)),
            1,
            ("the CPU's clock is limited to 1200 of 3400 MHz (power or heat settings)",),
        ),
        (
            replace(QUIET, thermal_throttles=7),
            replace(LATER, thermal_throttles=9),
            1,
            ("the CPU slowed itself down because of heat while latency was measured: cool it, or measure for shorter",),
        ),
        (replace(QUIET, thermal_throttles=7), replace(LATER, thermal_throttles=7), 1, ()),
        (QUIET, replace(LATER, quota=1.5), 1, ()),
        (
            QUIET,
            replace(LATER, quota=1.5),
            2,
            ("a cgroup limits this process to 1.5 cores, fewer than the 2 threads asked for",),
        ),
        (
            replace(QUIET, quota_throttles=3),
            replace(LATER, quota_throttles=8),
            1,
            (
                "the cgroup's CPU limit held the processes back 5 times while latency was measured: raise it (docker "
                "run --cpus)",
            ),
        ),
    ],
)
def test_warnings(before: Machine, after: Machine, threads: int, expected: tuple[str, ...]) -> None:
    assert warnings(before, after, threads) == expected


def tree(root: Path, **files: str) -> Path:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="ascii")
    return root


CPU = "sys/devices/system/cpu"
CGROUP = "sys/fs/cgroup"


def test_settings_of_the_processors(tmp_path: Path) -> None:
    files = {
        f"{CPU}/cpu0/cpufreq/scaling_governor": "powersave\n",
        f"{CPU}/cpu1/cpufreq/scaling_governor": "schedutil\n",
        f"{CPU}/cpu0/cpufreq/scaling_max_freq": "3400000\n",
        f"{CPU}/cpu0/cpufreq/cpuinfo_max_freq": "3400000\n",
        f"{CPU}/cpu1/cpufreq/scaling_max_freq": "1200000\n",
        f"{CPU}/cpu1/cpufreq/cpuinfo_max_freq": "3400000\n",
        f"{CPU}/cpu0/thermal_throttle/core_throttle_count": "3\n",
        f"{CPU}/cpu1/thermal_throttle/core_throttle_count": "4\n",
        f"{CPU}/cpufreq/policy0/scaling_governor": "not of a processor\n",
    }
    found = Machine.now(tree(tmp_path, **files))
    assert found.governors == ("powersave", "schedutil")
    assert found.capped == (1200, 3400)
    assert found.thermal_throttles == 7


@pytest.mark.parametrize(
    ("files", "quota", "throttles"),
    [
        ({}, None, None),
        # version 2: the group around this one is the stricter
        (
            {
                "proc/self/cgroup": "0::/box/inner\n",
                f"{CGROUP}/box/cpu.max": "50000 100000\n",
                f"{CGROUP}/box/inner/cpu.max": "max 100000\n",
                f"{CGROUP}/box/cpu.stat": "usage_usec 5\nnr_throttled 12\n",
            },
            0.5,
            12,
        ),
        # in a container of its own namespace the group is the root
        ({"proc/self/cgroup": "0::/\n", f"{CGROUP}/cpu.max": "150000 100000\n"}, 1.5, None),
        # version 1
        (
            {
                "proc/self/cgroup": "4:memory:/box\n3:cpu,cpuacct:/box\n",
                f"{CGROUP}/cpu,cpuacct/box/cpu.cfs_quota_us": "200000\n",
                f"{CGROUP}/cpu,cpuacct/box/cpu.cfs_period_us": "100000\n",
                f"{CGROUP}/cpu,cpuacct/box/cpu.stat": "nr_periods 9\nnr_throttled 2\n",
            },
            2.0,
            2,
        ),
        (
            {
                "proc/self/cgroup": "3:cpu:/\n",
                f"{CGROUP}/cpu/cpu.cfs_quota_us": "-1\n",
                f"{CGROUP}/cpu/cpu.cfs_period_us": "100000\n",
            },
            None,
            None,
        ),
        ({"proc/self/cgroup": "0::/\n", f"{CGROUP}/cpu.max": "nonsense\n"}, None, None),
    ],
)
def test_control_groups(files: dict[str, str], quota: float | None, throttles: int | None, tmp_path: Path) -> None:
    found = Machine.now(tree(tmp_path, **files))
    assert (found.quota, found.quota_throttles) == (quota, throttles)


def test_this_machine() -> None:
    """Own work is not other work: this process burns its processor in between."""
    before = Machine.now()
    while Machine.now().own_s - before.own_s < 0.3:
        pass
    after = Machine.now()
    assert after.processors >= 1
    assert after.at_s > before.at_s and after.busy_s > before.busy_s and after.own_s - before.own_s >= 0.3
