"""The stage of a fault test: a folder, a database, an app, and workers to be ill-treated."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from contextlib import closing
from importlib import import_module
from pathlib import Path
from typing import Any

from taskq import TaskQ, states
from taskq.brokers.base import DeadLetter, QueueDepth
from taskq.brokers.redis import RedisBroker
from taskq.result import AsyncResult
from taskq.stores.redis.calls import command
from tests.faults import processes
from tests.faults.journal import Journal
from tests.faults.processes import Process, process
from tests.faults.tasks import Gates
from tests.waiting import wait_until

CHECKOUT = Path(__file__).resolve().parents[2]
PATIENCE = 30.0
"""Seconds after which what should happen soon has not happened: for a loaded machine."""


class WorkerProcess:
    """A worker in a process of its own, started as users start it.

    Args:
        name: names its log and its node.
        folder: the test's folder.
        tasks: the module whose `make_app` makes its app.
        settings: of its app.
        options: more options of the command.
        environ: more environment variables.
        concurrency: tasks at a time; 0 is the solo pool, which has no children.
        pool: how they run.
        members: processes that run them; with prefork it is one for each.
    """

    def __init__(
        self,
        name: str,
        folder: Path,
        tasks: str,
        settings: dict[str, Any],
        options: Sequence[str],
        environ: dict[str, str],
        concurrency: int,
        pool: str = "prefork",
        members: int = 1,
    ) -> None:
        self.name = name
        self._members = concurrency if pool == "prefork" else members
        if pool != "prefork":
            options = (*options, "-P", pool, "--processes", str(members))
        self._log = folder / f"{name}.log"
        command = [
            *(sys.executable, "-m", "taskq", "-A", "tests.faults.worker_app", "worker"),
            *("-l", "INFO", "-n", f"{name}@here", *options),
            *(("-c", str(concurrency)) if concurrency else ("-P", "solo")),
        ]
        with self._log.open("wb") as output:
            self._popen = subprocess.Popen(
                command,
                cwd=CHECKOUT,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                # A group of its own, as a shell gives it one: Ctrl-C goes to all of it.
                process_group=0,
                env={
                    **os.environ,
                    "STAGE_TASKS": tasks,
                    "STAGE_FOLDER": str(folder),
                    "STAGE_SETTINGS": json.dumps(settings),
                    **environ,
                },
            )
        self.pid = self._popen.pid
        self._tree: set[Process] = {process(self.pid)}

    # What it shows

    def log(self) -> str:
        """What it has written so far."""
        return self._log.read_text(errors="replace")

    def wait_ready(self) -> WorkerProcess:
        """Wait until it consumes and all its children are there."""
        self.wait_log(" ready.")
        self.wait(lambda: len(self.children()) == self._members, "all its children")
        return self

    def wait_log(self, text: str, timeout: float = PATIENCE) -> None:
        """Wait until this is in its log."""
        self.wait(lambda: text in self.log(), f"{text!r} in its log", timeout)

    def wait(self, condition: Any, what: str, timeout: float = PATIENCE) -> None:
        """Wait for a condition, while it lives."""
        try:
            wait_until(lambda: condition() or self._popen.poll() is not None, timeout, what)
        except TimeoutError as exc:
            raise AssertionError(f"{self.name}: {exc}") from None
        if not condition():
            raise AssertionError(f"{self.name} ended ({self._popen.returncode}) before {what}")

    def children(self) -> list[Process]:
        """The processes that run tasks: children of the nursery, which is its one child."""
        return [child for nursery in self.nursery() for child in processes.children(nursery.pid)]

    def nursery(self) -> list[Process]:
        """The process that forks the children; none with the solo pool."""
        return processes.children(self.pid)[:1]

    def tree(self) -> set[Process]:
        """All its processes: those that it has now, and those that were seen before."""
        self._tree.update(processes.descendants(self.pid))
        return self._tree

    # What is done to it

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the worker's own process."""
        self.tree()
        self._popen.send_signal(number)

    def signal_again(self, number: signal.Signals, after: str) -> None:
        """Send one more signal, when the one before has been heard.

        Args:
            number: the signal.
            after: what the one before has left in the log.
        """
        self.wait_log(after)
        heard = time.monotonic()
        # The same signal twice within a tenth of a second is one to the worker.
        wait_until(lambda: time.monotonic() > heard + 0.15, PATIENCE, "a moment to pass")
        self.signal(number)

    def freeze(self) -> None:
        """Stop the worker's own process with SIGSTOP; its children go on."""
        self.signal(signal.SIGSTOP)
        wait_until(lambda: processes.process(self.pid).stopped, PATIENCE, "the worker to stand")

    def thaw(self) -> None:
        """Let it go on."""
        self.signal(signal.SIGCONT)

    def kill(self) -> None:
        """SIGKILL the worker's own process, and see that nothing of it lives on."""
        self.signal(signal.SIGKILL)
        self._popen.wait()
        self.assert_gone()

    def terminate(self) -> int:
        """SIGTERM; the exit status."""
        self.signal(signal.SIGTERM)
        return self.end()

    def end(self, timeout: float = PATIENCE) -> int:
        """Wait until it has ended, and nothing of it lives on; the exit status."""
        self.tree()
        try:
            status = self._popen.wait(timeout)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"{self.name} does not end") from None
        self.assert_gone()
        return status

    def assert_gone(self) -> None:
        """No process of it is left, children and their nursery included."""
        wait_until(
            lambda: not any(one.alive for one in self._tree),
            PATIENCE,
            f"the end of every process of {self.name}",
        )

    def clean_up(self) -> None:
        """End whatever is left, when the test is over."""
        for one in self.tree():
            if one.alive:
                os.kill(one.pid, signal.SIGKILL)
        self._popen.wait()


class Stage:
    """What one test works with.

    Args:
        folder: an empty folder of its own.
        tasks: the module whose `make_app` makes the app, here and in the workers.
        settings: of the app; ``{folder}`` is filled in.

    Attributes:
        app: the app, as a producer uses it.
        journal: what the tasks have noted.
        gates: what tasks wait for.
    """

    def __init__(self, folder: Path, tasks: str = "tests.faults.tasks", **settings: Any) -> None:
        self.folder = folder
        self._tasks = tasks
        self.database = folder / "taskq.db"  # if its broker is in SQLite
        self.settings = {
            name: value.format(folder=folder) if isinstance(value, str) else value
            for name, value in {"broker_url": "sqlite:///{folder}/taskq.db", **settings}.items()
        }
        self.journal = Journal(folder / "journal")
        self.gates = Gates(folder)
        self.app: TaskQ = import_module(tasks).make_app(folder, **self.settings)
        self._workers: list[WorkerProcess] = []

    def worker(
        self,
        *options: str,
        concurrency: int = 2,
        ready: bool = True,
        settings: dict[str, Any] | None = None,
        pool: str = "prefork",
        members: int = 1,
        **environ: str,
    ) -> WorkerProcess:
        """Start a worker.

        Args:
            options: more options of the command.
            concurrency: tasks at a time; 0 is the solo pool, which has no children.
            ready: wait until it is ready.
            settings: in addition to the stage's.
            pool: how they run.
            members: processes that run them, in other pools than prefork.
            environ: environment variables.
        """
        worker = WorkerProcess(
            f"worker{len(self._workers) + 1}",
            self.folder,
            self._tasks,
            {**self.settings, **(settings or {})},
            options,
            environ,
            concurrency,
            pool,
            members,
        )
        self._workers.append(worker)
        return worker.wait_ready() if ready else worker

    def send(self, name: str, *args: Any, **options: Any) -> AsyncResult[Any]:
        """Send one task."""
        return self.app.send_task(name, args, **options)

    def send_all(self, name: str, keys: Iterable[Any]) -> list[AsyncResult[Any]]:
        """Send the task once for each of these arguments, in one step."""
        return self.app.send_many([self.app.tasks[name].s(key) for key in keys])

    def send_notes(self, keys: Iterable[Any]) -> list[AsyncResult[Any]]:
        """Send many `note` tasks in one step."""
        return self.send_all("note", keys)

    def put(self, packed: Iterable[bytes]) -> None:
        """Put these bytes into the queue as they are, as no sound producer does."""
        broker = self.app.broker
        if isinstance(broker, RedisBroker):
            stream = broker.layout.queue("default").streams[0]
            broker.store.calls(*(command(stream, "XADD", stream, "*", "m", one) for one in packed))
            return
        with closing(sqlite3.connect(self.database, isolation_level=None)) as connection:
            connection.executemany(
                "INSERT INTO messages (queue, priority, state, message)"
                " VALUES ('default', 0, 0, ?)",
                [(one,) for one in packed],
            )

    # Waiting

    def wait_journal(self, event: str, key: object, count: int = 1) -> None:
        """Wait until this has happened so often."""
        self.wait(
            lambda: self.journal.count(event, key) >= count,
            f"{count} x {event} {key} in the journal",
        )

    def wait(self, condition: Any, what: str, timeout: float = PATIENCE) -> None:
        """Wait for a condition; if it does not come, say what the queue holds."""
        try:
            wait_until(condition, timeout, what)
        except TimeoutError as exc:
            raise AssertionError(f"{exc}; {self.depth()}") from None

    def logs(self) -> str:
        """What all workers have written."""
        return "\n".join(f"--- {worker.name}\n{worker.log()}" for worker in self._workers)

    # Counting

    def depth(self) -> QueueDepth:
        """What the queue holds."""
        return self.app.broker.depth("default")

    def dead_letters(self) -> list[DeadLetter]:
        """What lies in the dead-letter queue."""
        return self.app.broker.dead_letters()

    def outcomes(self, results: Iterable[AsyncResult[Any]]) -> dict[str, str]:
        """The states of all these tasks, as far as they have ended."""
        found = self.app.backend.fetch([result.id for result in results])
        return {key: o.state for key, o in found.items() if o.state in states.READY_STATES}

    def assert_all_done(
        self, results: Sequence[AsyncResult[Any]], timeout: float = PATIENCE, dead: int = 0
    ) -> None:
        """Every task that was accepted has an outcome, and the queue holds nothing any more."""
        self.wait(
            lambda: len(self.outcomes(results)) == len(results),
            f"{len(results)} outcomes",
            timeout,
        )
        self.wait(lambda: self.depth() == QueueDepth(dead=dead), "an empty queue", timeout)

    def close(self) -> None:
        """End all workers; the files are pytest's.  What they wrote is shown if a test fails."""
        for worker in self._workers:
            worker.clean_up()
        sys.stdout.write(self.logs())
        self.app.close()
