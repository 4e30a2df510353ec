"""A file with the process's number, which keeps a second worker from starting."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from taskq.cli.failure import Failure


@contextmanager
def pid_file(path: str) -> Iterator[None]:
    """Hold a pid file while the block runs.

    Raises:
        Failure: the process in it lives, or it cannot be written.
    """
    path = os.path.abspath(path)
    try:
        _remove_stale(path)
        with open(path, "x", encoding="ascii") as file:
            file.write(f"{os.getpid()}\n")
    except FileExistsError as exc:
        raise Failure(f"--pidfile {path}: another process has just written it") from exc
    except OSError as exc:
        raise Failure(f"--pidfile {path} cannot be written: {exc.strerror}") from exc
    try:
        yield
    finally:
        if _pid_in(path) == os.getpid():
            os.unlink(path)


def living_pid(path: str) -> int | None:
    """The process in a pid file, if it lives.

    Raises:
        Failure: the file holds something else.
    """
    pid = _pid_in(path)
    return pid if pid is not None and _lives(pid) else None


def _remove_stale(path: str) -> None:
    """Remove a file that a dead process has left behind."""
    pid = _pid_in(path)
    # In a container, every start has the same number, which a killed one has left here.
    if pid is not None and pid != os.getpid() and _lives(pid):
        raise Failure(
            f"--pidfile {path}: process {pid} is running. Stop it first; if it is no worker, "
            "remove the file"
        )
    if pid is not None:
        os.unlink(path)


def _pid_in(path: str) -> int | None:
    """The number in the file; None if there is no file."""
    try:
        with open(path, encoding="ascii", errors="replace") as file:
            text = file.read(100).strip()
    except FileNotFoundError:
        return None
    if not text.isdigit():
        raise Failure(f"--pidfile {path} holds {text!r}, no process number: remove it first")
    return int(text)


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        pass  # another user's
    return not _is_zombie(pid)


def _is_zombie(pid: int) -> bool:
    """Has it ended, and has its parent not asked how?  So it is in containers without an init."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            # The name, in parentheses, may hold anything; the state follows it (proc(5)).
            return file.read().rpartition(b")")[2].split()[:1] == [b"Z"]
    except OSError:
        return False
