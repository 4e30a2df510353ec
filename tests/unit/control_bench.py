"""A worker's mailbox on the memory broker, with stand-ins for what runs tasks."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

from taskq import TaskQ
from taskq.brokers.base import Fate, Settlement
from taskq.exceptions import ImproperlyConfigured
from taskq.execution import Report
from taskq.worker.admission import Admission
from taskq.worker.consuming import Consuming
from taskq.worker.control import Node, WorkerState
from taskq.worker.dispatcher import Dispatcher
from taskq.worker.events import WorkerEvents
from taskq.worker.fates import Fates
from taskq.worker.job import Job
from taskq.worker.keeping import keep_revoked
from taskq.worker.pauses import Pauses
from taskq.worker.pool.base import Running
from taskq.worker.window import Window


class Pool:
    """Takes jobs and runs none; remembers what it was told."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.jobs: list[Job] = []
        self.terminated: list[Job] = []
        self.restarts = 0

    def offer(self, jobs: Sequence[Job]) -> int:
        taken = list(jobs[: self.size - len(self.jobs)])
        self.jobs += taken
        return len(taken)

    def running(self) -> list[Running]:
        return [Running(job, 4711, time.monotonic() - 5) for job in self.jobs]

    def pids(self) -> list[int]:
        return [4711]

    def terminate(self, job: Job) -> bool:
        self.terminated.append(job)
        return True

    def grow(self, count: int = 1) -> None:
        if count > 100:
            raise ImproperlyConfigured("more than there can be")
        self.size += count

    def shrink(self, count: int = 1) -> None:
        self.size -= count

    def restart(self) -> None:
        self.restarts += 1


class ControlBench:
    """One worker that answers commands.

    Args:
        app: with its broker in memory.
        hostname: the worker's name.
        size: tasks at a time.
    """

    def __init__(self, app: TaskQ, hostname: str = "w@here", size: int = 2) -> None:
        self.app = app
        self.stopped = False
        self.settled: list[Settlement] = []
        self.pool = Pool(size)
        queues = app.queues()
        app.broker.declare(queues)
        self.consumer = app.broker.consumer(queues, lease=60, backend=app.backend)
        fates = Fates(app)
        admission = Admission(app, fates, 20.0, 10.0)
        window = Window(4, size)
        pool: Any = self.pool
        self.dispatcher = Dispatcher(self.consumer, admission, fates, pool, window)
        stand_in: Any = self
        self.dispatcher.connect(stand_in)
        self.consuming = Consuming(app, self.consumer, queues, "unique", self.dispatcher)
        pauses = Pauses(app.broker, self.dispatcher, self.consuming.names)
        self.events = WorkerEvents(app, hostname, self.dispatcher, pool, 0.05)
        self.state = WorkerState(
            *(app, hostname, self._stop, self.dispatcher, pool, admission),
            *(self.consuming, pauses, window, self.events),
            *(time.monotonic() - 7, admission.limits, 100),
        )
        self.node = Node(self.state)
        self.services = [
            self.node.serve(),
            self.events.run(),
            pauses.watch(),
            keep_revoked(self.dispatcher, self.consumer),
            self.dispatcher.fetch(),
        ]

    def _stop(self) -> None:
        self.stopped = True

    # What the dispatcher uses of the settler

    overloaded = False

    def add(self, settlement: Settlement, job: Job | None = None) -> None:
        self.settled.append(settlement)
        if job is not None:
            asyncio.get_running_loop().call_soon(self.dispatcher.settled, [job])

    # What a test does

    async def ask(self, command: Callable[..., Any], *args: Any, **options: Any) -> Any:
        """Call something of `app.control` in another thread, as programs do."""
        return await asyncio.to_thread(command, *args, **options)

    async def order(self, command: str, arguments: dict[str, Any] | None = None) -> Any:
        """Give the one worker a command; its answer."""
        replies = await self.ask(
            self.app.control.broadcast, command, arguments, reply=True, limit=1, timeout=10
        )
        ((_, answer),) = replies[0].items()
        return answer

    async def until(self, condition: Callable[[], object], what: str) -> None:
        """Wait for a condition."""
        async with asyncio.timeout(10):
            while not condition():  # noqa: ASYNC110 - it is no event of anybody's
                await asyncio.sleep(0.001)

    def finish(self, job: Job) -> None:
        """Let a job that the pool has end well."""
        self.pool.jobs.remove(job)
        self.dispatcher.finished(job, Report(job.ticket, Fate.DONE, "SUCCESS"))


@asynccontextmanager
async def control_bench(app: TaskQ, **options: Any) -> AsyncIterator[ControlBench]:
    """A bench whose worker listens while the block runs."""
    bench = ControlBench(app, **options)
    tasks = [asyncio.create_task(service) for service in bench.services]
    async with asyncio.timeout(10):
        await bench.node.listening.wait()
    try:
        yield bench
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        await bench.node.finish(0)
        await bench.consumer.close()
