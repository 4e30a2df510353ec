"""The solo pool: one task at a time in the worker's own process, for debugging.

Tasks run in a thread, so that leases are kept and signals are heard; breakpoints work.
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
    """Runs tasks in the worker's own process, one at a time.

    Args:
        app: the app, loaded.
        hostname: the worker's name.
        verbose: put results' texts into reports, for the log.
    """

    def __init__(self, app: TaskQ, hostname: str, verbose: bool = False) -> None:
        self._runner = TaskRunner(app, hostname, verbose=verbose, on_start=self._started)
        self._jobs: SimpleQueue[Job | None] = SimpleQueue()
        self._running: Job | None = None
        self._since = 0.0
        self._warned = self._stopping = False

    @property
    def size(self) -> int:
        return 1

    async def start(self, events: PoolEvents) -> None:
        self._events = events
        self._loop = asyncio.get_running_loop()
        # A daemon: a task that was given up does not keep the process from ending.
        threading.Thread(target=self._work, name="taskq-solo", daemon=True).start()

    def offer(self, jobs: Sequence[Job]) -> int:
        if self._running is not None or self._stopping or not jobs:
            return 0
        job = self._running = jobs[0]
        self._since = time.monotonic()
        if (job.hard_limit or job.soft_limit) and not self._warned:
            self._warned = True
            logger.warning("the solo pool applies no time limits; use -P prefork for them")
        self._jobs.put(job)
        return 1

    def _work(self) -> None:
        """The thread: one job after the other."""
        while (job := self._jobs.get()) is not None:
            delivery = job.delivery
            ended: Report | BaseException
            try:
                if job.verdict is None:
                    ended = self._runner.run(
                        job.ticket, delivery.message, delivery.queue, delivery.deliveries
                    )
                else:
                    ended = self._runner.pronounce(
                        job.ticket, delivery.message, delivery.queue, job.verdict.sentence
                    )
            except BaseException as exc:  # SystemExit and its like
                ended = exc
            try:
                self._loop.call_soon_threadsafe(self._ended, job, ended)
            except RuntimeError:
                return  # the loop is closed: this one had been given up

    def _started(self, outcome: Outcome) -> None:
        job = self._running
        if job is not None:
            self._loop.call_soon_threadsafe(self._events.progressed, job, outcome)

    def _ended(self, job: Job, ended: Report | BaseException) -> None:
        if self._running is not job:
            return  # given back by abort
        self._running = None
        if isinstance(ended, BaseException):  # elsewhere it would end a child
            self._events.lost(job, Loss.CRASHED, f"the task exited: {ended!r}")
        else:
            self._events.finished(job, ended)
        self._events.has_room()

    def running(self) -> list[Running]:
        return [Running(self._running, os.getpid(), self._since)] if self._running else []

    def abort(self) -> None:
        self._stopping = True
        job, self._running = self._running, None
        if job is not None:
            self._events.lost(job, Loss.UNSTARTED, "the worker was stopped")

    async def stop(self) -> None:
        # Without waiting: a task that was given up cannot be stopped, only left behind.
        self._jobs.put(None)
