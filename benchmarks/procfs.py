"""What a tree of processes costs, read from /proc (Linux only)."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

_PROC = Path("/proc")
_TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")


class _Stat(NamedTuple):
    parent: int
    session: int
    cpu_ticks: int


def tree(root: int) -> set[int]:
    """Returns `root`, its descendants, and whatever else belongs to its session.

    The session finds processes whose parent has already ended; every worker is started in a
    session of its own.
    """
    stats = {pid: stat for pid in _pids() if (stat := _stat(pid)) is not None}
    found = {pid for pid, stat in stats.items() if stat.session == root} | {root}
    grown = True
    while grown:
        children = {pid for pid, stat in stats.items() if stat.parent in found} - found
        found |= children
        grown = bool(children)
    return found & stats.keys()


def cpu_seconds(pids: set[int]) -> float:
    """Returns the processor time of the processes and of the children they have waited for.

    The kernel counts in ticks of usually 10 ms for each process.
    """
    stats = [stat for pid in pids if (stat := _stat(pid)) is not None]
    return sum(stat.cpu_ticks for stat in stats) / _TICKS_PER_SECOND


def pss_bytes(pids: set[int]) -> int:
    """Returns the proportional set size: pages shared by n processes count 1/n for each."""
    total = 0
    for pid in pids:
        try:
            rollup = (_PROC / str(pid) / "smaps_rollup").read_text()
        except (FileNotFoundError, ProcessLookupError):
            continue
        for line in rollup.splitlines():
            if line.startswith("Pss:"):
                total += int(line.split()[1]) * 1024
    return total


def _pids() -> list[int]:
    return [int(entry.name) for entry in _PROC.iterdir() if entry.name.isdigit()]


def _stat(pid: int) -> _Stat | None:
    """Reads /proc/PID/stat (proc(5)); None once the process is gone."""
    try:
        text = (_PROC / str(pid) / "stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    # The second field is the name in parentheses and may hold spaces; the rest starts behind it.
    fields = text.rpartition(")")[2].split()
    return _Stat(
        parent=int(fields[1]),
        session=int(fields[3]),
        cpu_ticks=sum(int(field) for field in fields[11:15]),
    )
