"""Processes as /proc shows them (proc(5)): who is whose child, and who still lives."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

PROC = Path("/proc")


class Process(NamedTuple):
    """One process; its start time tells it from a later one with the same pid."""

    pid: int
    started: int

    @property
    def alive(self) -> bool:
        """Does it still exist, and not only as a zombie that nobody has waited for?"""
        now = _stat(self.pid)
        return now is not None and now.state not in "ZX" and now.started == self.started

    @property
    def stopped(self) -> bool:
        """Does it stand still after SIGSTOP?"""
        now = _stat(self.pid)
        return now is not None and now.state == "T" and now.started == self.started


class _Stat(NamedTuple):
    state: str
    parent: int
    started: int


def process(pid: int) -> Process:
    """The process that has this pid now.

    Raises:
        ProcessLookupError: there is none.
    """
    stat = _stat(pid)
    if stat is None:
        raise ProcessLookupError(f"there is no process {pid}")
    return Process(pid, stat.started)


def children(pid: int) -> list[Process]:
    """The living children of a process, the oldest first."""
    found = []
    for entry in PROC.iterdir():
        if entry.name.isdigit():
            stat = _stat(int(entry.name))
            if stat is not None and stat.parent == pid and stat.state not in "ZX":
                found.append(Process(int(entry.name), stat.started))
    return sorted(found, key=lambda one: (one.started, one.pid))


def descendants(pid: int) -> list[Process]:
    """The living children of a process, theirs, and so on."""
    found = []
    for child in children(pid):
        found += [child, *descendants(child.pid)]
    return found


def _stat(pid: int) -> _Stat | None:
    try:
        text = (PROC / str(pid) / "stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    # The second field is the name in parentheses and may hold spaces; the rest is behind it.
    fields = text.rpartition(")")[2].split()
    return _Stat(fields[0], int(fields[1]), int(fields[19]))


def memory(pid: int) -> int:
    """Bytes of memory that a process has for itself."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def descriptors(pid: int) -> int:
    """How many files and sockets a process has open."""
    return len(os.listdir(f"/proc/{pid}/fd"))
