"""A memory limit that the kernel enforces by killing (cgroups(7)), version 1 or 2."""

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
