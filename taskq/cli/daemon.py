"""What the commands share that run until they are stopped: their log and their pid file."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING

from taskq.cli.failure import Failure
from taskq.cli.nodename import expand
from taskq.cli.pidfile import pid_file

if TYPE_CHECKING:
    from taskq.app import TaskQ


def held(path: str | None, name: str) -> AbstractContextManager[None]:
    """Hold a pid file, if one is wished for.

    Args:
        path: its path; ``%n`` is the first part of `name`.
        name: of the node.
    """
    return pid_file(expand(path, name.partition("@")[0])) if path else nullcontext()


def set_up_logging(app: TaskQ, level: int, logfile: str | None, name: str) -> None:
    """Set up the log.

    Raises:
        Failure: the file cannot be written.
    """
    # The log is set up by the commands that run, and by no other.
    from taskq.log import setup_logging

    path = log_path(logfile, name)
    try:
        setup_logging(app.conf, level, path)
    except OSError as exc:
        raise Failure(f"--logfile {path} cannot be written: {exc.strerror}") from exc


def log_path(logfile: str | None, name: str) -> str | None:
    """The file that an option names; ``%n`` is the first part of the node's name."""
    return expand(logfile, name.partition("@")[0]) if logfile else None
