"""``taskq multi``: starts, stops and restarts several workers on one machine."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence

import click

from taskq.cli.command import Command
from taskq.cli.failure import Misuse
from taskq.cli.multi.nodes import Node, read_nodes
from taskq.cli.pidfile import living_pid
from taskq.cli.session import APP_VARIABLE, Session, pass_session

_POLL = 0.1
"""Seconds between two looks whether a worker has ended."""

ACTIONS = ("start", "stop", "stopwait", "restart", "kill", "show", "names")


@click.command(
    "multi",
    cls=Command,
    # What follows belongs to the workers, and is read in nodes.py.
    context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False},
)
@click.argument("action", type=click.Choice(ACTIONS))
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED, metavar="NODES... [OPTIONS]...")
@pass_session
def multi(session: Session, /, action: str, arguments: tuple[str, ...]) -> None:
    """Start, stop and restart several workers on this machine.

    NODES are names, or one number: 3 stands for taskq1, taskq2 and taskq3. OPTIONS are those of
    `taskq worker`; -c:1, -c:2-4 and -c:mail are for these nodes alone. Pid files are %n.pid and
    logs %n.log in the working folder, if --pidfile and --logfile do not say otherwise.

    stop asks workers to stop, stopwait waits until they have, kill ends them at once, show prints
    the commands that start would run, names the names.
    """
    # The worker's options are loaded by the command that hands them on, and by no other.
    from taskq.cli.worker import worker

    if session.given is not None:
        raise Misuse("multi starts other processes, which must know the app by -A: use `taskq`")
    asked = [text for text in arguments if text != "--help"]
    if len(asked) < len(arguments):
        if asked:
            read_nodes(asked, worker.params)  # as click reads all of a line before it helps
        ctx = click.get_current_context()
        click.echo(ctx.get_help())
        ctx.exit()
    nodes = read_nodes(arguments, worker.params)
    cluster = _Cluster(nodes, [*_given_before(session)], session.workdir, session.quiet)
    ok = getattr(cluster, action)()
    click.get_current_context().exit(0 if ok else 1)


def _given_before(session: Session) -> Iterator[str]:
    """The options that stand before ``multi``, for each worker."""
    if session.app_spec:
        yield from ("-A", session.app_spec)
    if session.config:
        yield from ("--config", session.config)
    if session.quiet:
        yield "-q"
    for option in ("--broker", "--result-backend", "--no-color"):
        for value, source in session.changes.values():
            if source == option:
                yield from (option, str(value)) if option != "--no-color" else (option,)


class _Cluster:
    """Workers that are started and stopped together.

    Args:
        nodes: the workers.
        common: options for all of them.
        workdir: the folder in which they run.
        quiet: do not say what is done.
    """

    def __init__(
        self, nodes: Sequence[Node], common: Sequence[str], workdir: str | None, quiet: bool
    ) -> None:
        self._nodes = nodes
        self._common = common
        self._quiet = quiet
        if workdir:
            try:
                os.chdir(workdir)
            except OSError as exc:
                raise Misuse(f"--workdir {workdir}: {exc.strerror}") from exc

    def _say(self, node: Node, text: str) -> None:
        if not self._quiet:
            click.echo(f"{node.name}: {text}")

    def _command(self, node: Node) -> list[str]:
        return ["worker", *self._common, *node.arguments()]

    def start(self) -> bool:
        """Start all that do not run; a worker that is started is ready."""
        if not self._common and APP_VARIABLE not in os.environ and not self._names_app():
            raise Misuse(f"which app? Name it by -A, or set {APP_VARIABLE}")
        started = [self._start(node) for node in self._nodes]  # one that cannot keeps no other
        return all(started)

    def _names_app(self) -> bool:
        return any(name in ("-A", "--app") for node in self._nodes for name, _ in node.options)

    def _start(self, node: Node) -> bool:
        if pid := living_pid(node.path("--pidfile")):
            self._say(node, f"runs already, as process {pid}")
            return False
        done = subprocess.run(
            [sys.executable, "-m", "taskq", *self._command(node)],
            stdout=subprocess.DEVNULL,
            check=False,
        )
        if done.returncode:
            self._say(node, f"could not be started (status {done.returncode})")
            return False
        self._say(node, f"started, as process {living_pid(node.path('--pidfile'))}")
        return True

    def stop(self) -> bool:
        """Ask all to stop."""
        self._signal(signal.SIGTERM, "stops")
        return True

    def stopwait(self) -> bool:
        """Ask all to stop, and wait until they have."""
        self._wait(self._signal(signal.SIGTERM, "stops"))
        return True

    def restart(self) -> bool:
        """Stop all, wait, and start all."""
        self.stopwait()
        return self.start()

    def kill(self) -> bool:
        """End all at once; their tasks run again when the leases end."""
        self._wait(self._signal(signal.SIGKILL, "killed"))
        return True

    def _signal(self, number: signal.Signals, text: str) -> list[tuple[Node, int]]:
        found = []
        for node in self._nodes:
            pid = living_pid(node.path("--pidfile"))
            if pid is None:
                self._say(node, "does not run")
                continue
            try:
                os.kill(pid, number)
            except PermissionError:
                self._say(node, f"process {pid} is another user's")
                continue
            except ProcessLookupError:
                continue  # it has just ended
            self._say(node, f"{text} (process {pid})")
            found.append((node, pid))
        return found

    def _wait(self, running: list[tuple[Node, int]]) -> None:
        for node, pid in running:
            while living_pid(node.path("--pidfile")) == pid:
                time.sleep(_POLL)
            self._say(node, "has ended")

    def show(self) -> bool:
        """Print the commands that `start` runs."""
        for node in self._nodes:
            click.echo(shlex.join(["taskq", *self._command(node)]))
        return True

    def names(self) -> bool:
        """Print the names of the nodes."""
        for node in self._nodes:
            click.echo(node.name)
        return True
