"""Limits that the kernel enforces (cgroups(7)), version 1 or 2: of memory, and of processors."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_ROOT = Path("/sys/fs/cgroup")


@contextmanager
def memory_limit(size: int, *pids: int) -> Iterator[bool]:
    """Put processes under a limit; those that they fork later are under it as well.

    Args:
        size: bytes.
        pids: the processes; what they have used so far does not count.

    Yields:
        Whether it could be done: it takes the right to make a group.
    """
    name = f"taskq-test-{os.getpid()}"
    for group, limit in (
        (_ROOT / "memory" / name, "memory.limit_in_bytes"),
        (_ROOT / name, "memory.max"),
    ):
        if _make(group, limit, size, pids):
            try:
                yield True
            finally:
                _remove(group)
            return
    yield False


@contextmanager
def processor_limit(count: int) -> Iterator[Path | None]:
    """A group whose processes may use so many processors.

    Yields:
        The file into which a process writes its pid to be in it; None without the right to
        make one.
    """
    name = f"taskq-test-cpu-{os.getpid()}"
    for group, limit, value in (
        (_ROOT / "cpu" / name, "cpu.cfs_quota_us", str(count * 100_000)),
        (_ROOT / name, "cpu.max", f"{count * 100_000} 100000"),
    ):
        if not (group.parent / "cgroup.procs").exists():
            continue
        try:
            group.mkdir()
            (group / limit).write_text(value)
        except OSError:
            continue
        try:
            yield group / "cgroup.procs"
        finally:
            _remove(group)
        return
    yield None


def _make(group: Path, limit: str, size: int, pids: tuple[int, ...]) -> bool:
    if not (group.parent / "cgroup.procs").exists():
        return False
    try:
        group.mkdir()
    except OSError:
        return False
    try:
        (group / limit).write_text(str(size))
        with suppress(OSError):  # only where swap is counted
            (group / "memory.swap.max").write_text("0")
        for pid in pids:
            (group / "cgroup.procs").write_text(str(pid))
    except OSError:
        _remove(group)
        return False
    return True


def _remove(group: Path) -> None:
    for pid in (group / "cgroup.procs").read_text().split():
        with suppress(OSError):
            (group.parent / "cgroup.procs").write_text(pid)
    group.rmdir()
