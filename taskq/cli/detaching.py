"""Going on in the background, and telling the terminal how that went.

Three processes: the command that was given by hand, a go-between that leads a new session, and the
daemon, which leads none, so that it can never get a terminal again (daemon(7)).  The first waits
until the daemon is ready or has ended, and ends with its exit status; what goes wrong before that
is told on the terminal.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn

import click

from taskq.exceptions import TaskQError

_MARK = "TASKQ_IS_DETACHED"
"""Holds a daemon's process number: its command has ``--detach`` still when HUP starts it anew."""

logger = logging.getLogger("taskq")


@contextmanager
def detach(name: str, quiet: bool) -> Iterator[Detached | None]:
    """Run the block in the background; the process that calls it ends here.

    Args:
        name: what to call the daemon.
        quiet: do not say that it runs.

    Yields:
        What the daemon has still of the terminal; None if it was in the background before.
    """
    if os.environ.get(_MARK) == str(os.getpid()):
        yield None
        return
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    go_between = os.fork()
    if go_between:
        _wait_as_command(go_between)
    os.setsid()
    reader, writer = os.pipe()
    daemon = os.fork()
    if daemon:
        os.close(writer)
        _wait_as_go_between(reader, daemon, "" if quiet else name)
    os.close(reader)
    os.environ[_MARK] = str(os.getpid())
    detached = Detached(writer)
    try:
        yield detached
    except (click.ClickException, TaskQError) as exc:
        detached.failed(str(exc))
        raise


class Detached:
    """What a daemon still has of the terminal, until it is ready.

    Args:
        writer: the end of a pipe to the go-between.
    """

    def __init__(self, writer: int) -> None:
        self._writer = writer
        self._terminal = os.dup(2)
        self._has_log = False
        # A worker's processes must not keep it: whoever waits for its end would wait for theirs.
        os.register_at_fork(after_in_child=self._close)

    def let_go(self, logfile: str | None) -> None:
        """Read and write no longer where the terminal was; what is written goes to the log."""
        self._has_log = True
        null = os.open(os.devnull, os.O_RDWR)
        log = os.open(logfile, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666) if logfile else null
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        for source, target in ((null, 0), (log, 1), (log, 2)):
            os.dup2(source, target)
        for fd in {null, log}:
            os.close(fd)

    def ready(self) -> None:
        """Have the command that waits end well."""
        if self._writer >= 0:
            os.write(self._writer, b"ready")
            self._close()

    def failed(self, text: str) -> None:
        """Show on the terminal, too, what is raised now."""
        if self._writer >= 0:
            if self._has_log:
                logger.critical("%s", text)
            os.dup2(self._terminal, 2)

    def _close(self) -> None:
        if self._writer >= 0:
            os.close(self._writer)
            os.close(self._terminal)
            self._writer = -1


def _wait_as_command(go_between: int) -> NoReturn:
    try:
        _, status = os.waitpid(go_between, 0)
    except KeyboardInterrupt:
        os.killpg(go_between, signal.SIGTERM)
        os._exit(130)
    os._exit(_exit_code(status))


def _wait_as_go_between(reader: int, daemon: int, name: str) -> NoReturn:
    status = 0
    if os.read(reader, 16):
        if name:
            sys.stdout.write(f"{name} runs in the background as process {daemon}\n")
            sys.stdout.flush()
    else:
        _, status = os.waitpid(daemon, 0)
    os._exit(_exit_code(status))


def _exit_code(status: int) -> int:
    code = os.waitstatus_to_exitcode(status)
    return code if code >= 0 else 128 - code
