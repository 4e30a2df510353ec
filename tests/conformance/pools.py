"""The pools that must keep the contract.  Adding one is one entry in `POOLS`."""

from __future__ import annotations

import asyncio
import itertools
import logging
import os
import sys
import threading
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from taskq import TaskQ
from taskq.backends.base import Outcome
from taskq.brokers.base import Delivery
from taskq.execution import Report
from taskq.message import pack
from taskq.worker.job import Job
from taskq.worker.pool.base import Loss, Pool
from taskq.worker.pool.options import ChildOptions
from taskq.worker.pool.program import AppSource
from taskq.worker.pools import PoolPlan, make_pool, prepare_pool
from tests.conformance.pool_tasks import make_app
from tests.waiting import wait_until

PATIENCE = 40.0
"""Seconds after which a report that does not come is taken to be lost."""


@dataclass(frozen=True)
class PoolKind:
    """One pool, and what it can do.

    Attributes:
        name: shown in the names of tests.
        sizes: how many jobs at a time it can be asked to run.
        processes: jobs run in processes that can be killed.
        single: there is one job in a process at a time.
        many: there are many.
        forked: its processes are copies of one that has the app.
        step: seconds after which what waits must come back to Python for an exception to be
            raised in it; 0 is never.
    """

    name: str
    sizes: tuple[int, ...] = (1, 3)
    processes: bool = True
    single: bool = False
    many: bool = False
    forked: bool = True
    step: float = 0.0

    def prepare(self, app: TaskQ, size: int, options: ChildOptions) -> Callable[[], Pool]:
        """Start its processes; what is returned makes the pool."""
        source = AppSource("tests.conformance.pool_app:app", {}, sys.path)
        plan = PoolPlan(self.name, size, 1, 1) if self.single else PoolPlan(self.name, 1, size, 8)
        nursery = prepare_pool(app, plan, options, source)
        return lambda: make_pool(app, plan, options, nursery)


POOLS = (
    PoolKind("prefork", single=True),
    PoolKind("threads", many=True, step=0.01),
    PoolKind("asyncio", many=True, step=0.01),
    PoolKind("eventlet", many=True, forked=False),
    PoolKind("gevent", many=True, forked=False),
    PoolKind("solo", sizes=(1,), processes=False, single=True),
)


def having(*features: str) -> pytest.MarkDecorator:
    """Run a test with those pools alone that have these features."""
    kinds = [kind for kind in POOLS if all(getattr(kind, feature) for feature in features)]
    return pytest.mark.parametrize("kind", kinds, indirect=True, ids=lambda kind: kind.name)


class Bench:
    """A running pool, what it is to do, and what it has told."""

    def __init__(self, kind: PoolKind, app: TaskQ, pool: Pool) -> None:
        self.kind = kind
        self.app = app
        self.pool = pool
        self.reports: dict[int, Report] = {}
        self.losses: dict[int, tuple[Loss, str]] = {}
        self.order: list[int] = []
        self.states: list[tuple[int, Outcome]] = []
        self.failure = ""
        self.sizes: list[int] = []
        self.mistakes: list[object] = []
        self.room = 0
        self._waiting: list[Job] = []
        self._taken: dict[int, Job] = {}
        self._changed = asyncio.Event()
        self._tickets = itertools.count(1)

    # What the pool tells

    def finished(self, job: Job, report: Report) -> None:
        if report.ticket != job.ticket:
            self.mistakes.append(f"the report of {report.ticket} came for {job.ticket}")
        self.reports[job.ticket] = report
        self._end(job)

    def lost(self, job: Job, loss: Loss, detail: str) -> None:
        self.losses[job.ticket] = (loss, detail)
        self._end(job)

    def _end(self, job: Job) -> None:
        if self._taken.pop(job.ticket, None) is not job:
            self.mistakes.append(f"{job.ticket} has ended, and was not there or another")
        self.order.append(job.ticket)
        self._changed.set()

    def progressed(self, job: Job, outcome: Outcome) -> None:
        self.states.append((job.ticket, outcome))
        self._changed.set()

    def has_room(self) -> None:
        self.room += 1
        while self._waiting:
            # Noted before they are offered: a pool may report while it takes them.
            self._taken.update((job.ticket, job) for job in self._waiting)
            count = self.pool.offer(self._waiting)
            for job in self._waiting[count:]:
                del self._taken[job.ticket]
            del self._waiting[:count]
            if not count:
                return
        self._changed.set()

    def resized(self) -> None:
        self.sizes.append(self.pool.size)

    def broken(self, reason: str) -> None:
        self.failure = reason
        self._changed.set()

    # What it is to do

    def job(self, name: str, *args: Any, deliveries: int = 1, **limits: Any) -> Job:
        task = self.app.tasks[name]
        message = self.app.producer.build(name, args, {}, {"queue": "q"}, task)
        delivery = Delivery(message, pack(message), "q", None, deliveries)
        return Job(next(self._tickets), delivery, task, **limits)

    def give(self, *jobs: Job) -> Sequence[Job]:
        """Have jobs run as soon as there is room."""
        self._waiting.extend(jobs)
        self.has_room()
        return jobs

    def stop_giving(self) -> None:
        """Keep back what the pool has not taken."""
        self._waiting.clear()

    def abort(self) -> None:
        """Stop the pool at once, and give it nothing more."""
        self.stop_giving()
        self.pool.abort()

    @property
    def taken(self) -> int:
        """How many jobs the pool has and has not told of."""
        return len(self._taken)

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait for something that an event brings about."""
        async with asyncio.timeout(PATIENCE):
            while not condition():
                self._changed.clear()
                await self._changed.wait()

    async def until_exists(self, *paths: Path) -> None:
        async with asyncio.timeout(PATIENCE):
            while not all(path.exists() for path in paths):  # noqa: ASYNC110 - a file is none
                await asyncio.sleep(0.002)

    async def all_started(self) -> None:
        """Wait until the pool knows all its processes, if it has some."""
        await self.run(self.job("add", 1, 2))
        if self.kind.processes:
            await self.has_processes(self.pool.size if self.kind.single else 1)

    async def has_processes(self, count: int) -> None:
        await self.becomes(lambda: len(self.pool.pids()) == count)

    async def becomes(self, condition: Callable[[], bool]) -> None:
        """Wait for something that no event tells of."""
        async with asyncio.timeout(PATIENCE):
            while not condition():  # noqa: ASYNC110 - as it says
                await asyncio.sleep(0.002)

    async def ended(self, *jobs: Job) -> None:
        await self.until(lambda: all(self.is_over(job) for job in jobs))

    def is_over(self, job: Job) -> bool:
        return job.ticket in self.reports or job.ticket in self.losses

    async def run(self, *jobs: Job) -> list[Any]:
        """Run jobs that succeed; what they return."""
        self.give(*jobs)
        await self.ended(*jobs)
        return [self.result(job) for job in jobs]

    def result(self, job: Job) -> Any:
        assert job.ticket not in self.losses, self.losses[job.ticket]
        report = self.reports[job.ticket]
        assert report.state == "SUCCESS", (report.text, report.traceback)
        assert report.outcome is not None
        assert report.outcome.task_id == job.id
        return self.app.result_codec.decode(report.outcome)["result"]

    def loss(self, job: Job) -> Loss:
        return self.losses[job.ticket][0]


def run(
    kind: PoolKind,
    scenario: Callable[[Bench], Awaitable[None]],
    size: int = 1,
    **options: Any,
) -> Bench:
    """Run a scenario on a pool of its own; then stop it, and see that nothing is left of it."""
    app = make_app()
    make = kind.prepare(app, size, ChildOptions("worker@host", **options))
    pids: set[int] = set()
    errors: list[object] = []
    threads = threading.active_count()  # other tests of this process may have left some

    async def main() -> Bench:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: errors.append(context))
        bench = Bench(kind, app, make())
        await bench.pool.start(bench)
        try:
            await scenario(bench)
        except BaseException:
            bench.abort()
            raise
        finally:
            pids.update(bench.pool.pids())
            await bench.pool.stop()
        return bench

    with heard("taskq.worker") as warnings:
        bench = asyncio.run(main())
    assert not errors, errors
    assert not [line for line in warnings if "did not end" in line or "status 1" in line], warnings
    assert not bench.mistakes
    assert not bench.taken
    assert bench.pool.pids() == []
    assert not [pid for pid in pids if is_alive(pid)]
    wait_until(lambda: threading.active_count() <= threads, PATIENCE, "the pool's threads to end")
    return bench


@contextmanager
def heard(name: str) -> Iterator[list[str]]:
    """What a logger says while the block runs."""
    lines: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: lines.append(record.getMessage())  # type: ignore[method-assign]
    logging.getLogger(name).addHandler(handler)
    try:
        yield lines
    finally:
        logging.getLogger(name).removeHandler(handler)


def is_alive(pid: int) -> bool:
    """Does that process run?  One that has ended and was not reaped does not."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state not in "ZX"


def children_of(parent: int) -> list[int]:
    """The processes that a process has started."""
    found = []
    for name in os.listdir("/proc"):
        try:
            fields = Path(f"/proc/{name}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if fields[1] == str(parent) and fields[0] not in "ZX":
            found.append(int(name))
    return found
