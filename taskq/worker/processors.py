"""How many processors a worker may use: what the system, its masks and its limits leave."""

from __future__ import annotations

import math
import os
from pathlib import Path


def processors(root: Path = Path("/")) -> int:
    """The processors that this process may use, at least 1.

    A container's limit is a quota of its control group (Documentation/admin-guide/cgroup-v2.rst
    of the kernel, ``cpu.max``; cgroup-v1, ``cpu.cfs_quota_us``), of which Python knows nothing.
    Of nested groups the tightest counts; half a processor counts as a whole one.

    Args:
        root: the folder of ``proc`` and ``sys``.
    """
    found = float(len(os.sched_getaffinity(0)))
    for quota in _quotas(root):
        found = min(found, quota)
    return max(1, math.ceil(found))


def _quotas(root: Path) -> list[float]:
    """The limits of the control groups that this process is in, in processors."""
    quotas = []
    for line in _read(root / "proc/self/cgroup").splitlines():
        _, controllers, group = line.split(":", 2)
        if not controllers:
            for folder in _upwards(root / "sys/fs/cgroup", group):
                quota, _, period = _read(folder / "cpu.max").partition(" ")
                quotas += _quota(quota, period)
        elif "cpu" in controllers.split(","):
            for folder in _upwards(root / "sys/fs/cgroup" / controllers, group):
                quotas += _quota(
                    _read(folder / "cpu.cfs_quota_us"), _read(folder / "cpu.cfs_period_us")
                )
    return quotas


def _upwards(mount: Path, group: str) -> list[Path]:
    """The folder of a group, and of those that it is in."""
    # In a container the group's path may be the host's, of which only the end is mounted.
    folder = mount / group.strip("/")
    return [folder, *folder.parents[: len(folder.parts) - len(mount.parts)]]


def _quota(quota: str, period: str) -> list[float]:
    try:
        limit = int(quota) / int(period)
    except (ValueError, ZeroDivisionError):
        return []  # there is no such file, or it says "max"
    return [limit] if limit > 0 else []  # -1 is none, in the first version


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""
