"""What the commands share that run until they are stopped: log, pid file, rights, background."""

from __future__ import annotations

import functools
import logging
import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import click

from taskq.cli.detaching import Detached, detach
from taskq.cli.failure import Failure
from taskq.cli.nodename import expand, node_name
from taskq.cli.pidfile import pid_file
from taskq.cli.rights import drop_rights, set_umask
from taskq.cli.session import Session
from taskq.cli.types import log_level, octal

if TYPE_CHECKING:
    from taskq.app import TaskQ

logger = logging.getLogger("taskq")

LOGFILE = "%n.log"
"""Where the log of a process in the background goes if nobody says so."""


@dataclass
class Daemon:
    """What the options say of a process that runs until it is stopped.

    Attributes:
        name: the node's name.
        level: of the log.
        logfile: the log's path; ``%n`` is the first part of the name.
        pidfile: a file that holds the process's number, likewise.
        detach: run it in the background.
        uid: the user that it becomes, by name or number.
        gid: the group, likewise.
        umask: of the files that it makes.
        log_format: ``text`` or ``json``; None is what the settings say.
    """

    name: str
    level: int
    logfile: str | None
    pidfile: str | None
    detach: bool
    uid: str | None
    gid: str | None
    umask: int | None
    log_format: str | None
    _detached: Detached | None = field(default=None, init=False, repr=False)

    @contextmanager
    def process(self, session: Session) -> Iterator[None]:
        """Become the process that is wanted; to be called before the app is loaded.

        The command that was given by hand waits in here until the one in the background is
        ready, and ends: it is that one which goes on.

        Raises:
            Failure: the rights are not to be had.
        """
        if self.log_format is not None:
            session.change("worker_log_json", self.log_format == "json", "--log-format")
        set_umask(self.umask)
        drop_rights(self.uid, self.gid)
        if not self.detach:
            yield
            return
        self.logfile = self.logfile or LOGFILE
        session.detached = True
        with detach(self.name, session.quiet) as self._detached:
            yield

    @contextmanager
    def running(self, app: TaskQ) -> Iterator[None]:
        """Hold the pid file and set up the log, while the block runs.

        Raises:
            Failure: one of them cannot be had.
        """
        pidfile = self.path(self.pidfile)
        with pid_file(pidfile) if pidfile else nullcontext():
            self._set_up_logging(app)
            if self._detached is not None:
                self._detached.let_go(self.log_path)
            yield

    def _set_up_logging(self, app: TaskQ) -> None:
        # The log is set up by the commands that run, and by no other.
        from taskq.log import setup_logging

        path = self.log_path
        try:
            setup_logging(app.conf, self.level, path)
        except OSError as exc:
            raise Failure(f"--logfile {path} cannot be written: {exc.strerror}") from exc

    def ready(self) -> None:
        """It does its work from now on: whoever waits for that is told."""
        if self._detached is not None:
            self._detached.ready()
        _tell_systemd("READY=1")

    @property
    def log_path(self) -> str | None:
        """The file that the log goes to; None is standard error."""
        return self.path(self.logfile)

    def path(self, pattern: str | None) -> str | None:
        """A path of which ``%n`` is the first part of the node's name."""
        return expand(pattern, self.name.partition("@")[0]) if pattern else None


_OPTIONS = (
    click.option(
        "-n",
        "--hostname",
        metavar="NAME",
        help="Its name; %h, %n and %d are host, name and domain.",
    ),
    click.option(
        "-l", "--loglevel", type=log_level, metavar="LEVEL", default="WARNING", show_default=True
    ),
    click.option(
        "-f", "--logfile", metavar="PATH", help="Log to this file, not to standard error."
    ),
    click.option(
        "--log-format",
        type=click.Choice(("text", "json")),
        help="Lines for people, or one JSON object a line.",
    ),
    click.option("--pidfile", metavar="PATH", help="Hold this file while it runs."),
    click.option("-D", "--detach", is_flag=True, help="Run in the background."),
    click.option("--uid", metavar="USER", help="Run as this user, by name or number."),
    click.option("--gid", metavar="GROUP", help="Run as this group; by default the user's."),
    click.option("--umask", type=octal, metavar="MODE", help="Of its files, such as 027."),
)


def _tell_systemd(state: str) -> None:
    """Tell systemd of it, if that has started this and wants to know: sd_notify(3)."""
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
        try:
            notify.connect("\0" + address[1:] if address.startswith("@") else address)
            notify.send(state.encode())
        except OSError as exc:
            logger.warning("systemd cannot be told %s: %s", state, exc)


def daemon_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the options of a daemon; it gets them as its argument `daemon`."""

    @functools.wraps(command)
    def gather(
        *args: Any,
        hostname: str | None,
        loglevel: int,
        logfile: str | None,
        pidfile: str | None,
        detach: bool,
        uid: str | None,
        gid: str | None,
        umask: int | None,
        log_format: str | None,
        **options: Any,
    ) -> Any:
        name = node_name(hostname)
        daemon = Daemon(name, loglevel, logfile, pidfile, detach, uid, gid, umask, log_format)
        return command(*args, daemon=daemon, **options)

    for option in reversed(_OPTIONS):
        gather = option(gather)
    return gather
