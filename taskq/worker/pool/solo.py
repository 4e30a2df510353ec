"""The solo pool: tasks run in the worker's own process, for debugging and in tests.

They run in threads, so that leases are kept and signals are heard; breakpoints work.
There is no process to kill: time limits do not apply, and the worker warns of it.
"""

from __future__ import annotations

import asyncio
import logging
import os
import threading
import time
from collections.abc import Sequence
from queue import SimpleQueue
from typing import TYPE_CHECKING

from taskq.execution import Report, TaskRunner
from taskq.worker.pool.base import Loss, Pool, PoolEvents, Running

if TYPE_CHECKING:
    from taskq.app import TaskQ
    from taskq.backends.base import Outcome
    from taskq.worker.job import Job

logger = logging.getLogger("taskq.worker")


class SoloPool(Pool):
    """Runs tasks in the worker's own process.

    Args:
        app: the app, loaded.
        hostname: the worker's name.
        verbose: put results' texts into reports, for the log.
        width: how many at a time; ``-P solo`` is one.
    """

    def __init__(self, app: TaskQ, hostname: str, verbose: bool = False, width: int = 1) -> None:
        self._runner = TaskRunner(app, hostname, verbose=verbose, on_start=self._started)
        self._jobs: SimpleQueue[Job | None] = SimpleQueue()
        self._width = width
        self._running: dict[int, Running] = {}
        self._here = threading.local()
        self._warned = self._stopping = False

    @property
    def size(self) -> int:
        return self._width

    async def start(self, events: PoolEvents) -> None:
        self._events = events
        self._loop = asyncio.get_running_loop()
        for number in range(1, self._width + 1):
            # Daemons: a task that was given up does not keep the process from ending.
            threading.Thread(target=self.work, name=f"taskq-solo-{number}", daemon=True).start()

    def offer(self, jobs: Sequence[Job]) -> int:
        room = 0 if self._stopping else self._width - len(self._running)
        taken = jobs[:room]
        for job in taken:
            self._running[job.ticket] = Running(job, os.getpid(), time.monotonic())
            if (job.hard_limit or job.soft_limit) and not self._warned:
                self._warned = True
                logger.warning("the solo pool applies no time limits; use -P prefork for them")
            self._jobs.put(job)
        return len(taken)

    def work(self) -> None:
        """Run one job after the other, in this thread, until the pool stops."""
        while (job := self._jobs.get()) is not None:
            self._here.job = job
            ended: Report | BaseException
            try:
                ended = self._run(job)
            except BaseException as exc:  # SystemExit and its like
                ended = exc
            try:
                self._loop.call_soon_threadsafe(self._ended, job, ended)
            except RuntimeError:
                return  # the loop is closed: this one had been given up

    def _run(self, job: Job) -> Report:
        delivery = job.delivery
        if job.verdict is not None:
            return self._runner.pronounce(
                job.ticket, delivery.message, delivery.queue, job.verdict.sentence
            )
        return self._runner.run(job.ticket, delivery.message, delivery.queue, delivery.deliveries)

    def _started(self, outcome: Outcome) -> None:
        """Called in the thread that runs the job."""
        self._loop.call_soon_threadsafe(self._progressed, self._here.job, outcome)

    def _progressed(self, job: Job, outcome: Outcome) -> None:
        if job.ticket in self._running:
            self._events.progressed(job, outcome)

    def _ended(self, job: Job, ended: Report | BaseException) -> None:
        if self._running.pop(job.ticket, None) is None:
            return  # given back by abort
        if isinstance(ended, BaseException):  # elsewhere it would end a child
            self._events.lost(job, Loss.CRASHED, f"the task exited: {ended!r}")
        else:
            self._events.finished(job, ended)
        self._events.has_room()

    def terminate(self, job: Job) -> bool:
        if job.ticket in self._running:
            logger.warning(
                "Task %s goes on: the solo pool cannot end a task that runs; use -P prefork for it",
                job.label,
            )
        return False

    def running(self) -> list[Running]:
        return list(self._running.values())

    def abort(self) -> None:
        self._stopping = True
        given_up, self._running = list(self._running.values()), {}
        for running in given_up:
            self._events.lost(running.job, Loss.UNSTARTED, "the worker was stopped")

    async def stop(self) -> None:
        # Without waiting: a task that was given up cannot be stopped, only left behind.
        for _ in range(self._width):
            self._jobs.put(None)
