"""The dispatcher: what is in flight, from the consumer to the pool and back."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Sequence
from typing import Any

import pytest

from taskq import TaskQ
from taskq.brokers.base import Delivery, Fate, Settlement
from taskq.exceptions import OperationalError
from taskq.execution import Report
from taskq.worker.admission import Admission
from taskq.worker.dispatcher import Dispatcher
from taskq.worker.fates import Fates
from taskq.worker.job import Job
from taskq.worker.keeping import keep_leases
from taskq.worker.pool.base import Loss
from taskq.worker.window import Window
from tests.unit.worker_parts import make_delivery


class Pool:
    """Takes as many jobs as it has room for, and runs none."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.jobs: list[Job] = []
        self.aborted = False

    def offer(self, jobs: Sequence[Job]) -> int:
        room = 0 if self.aborted else self.size - len(self.jobs)
        taken = list(jobs[:room])
        self.jobs += taken
        return len(taken)

    def abort(self) -> None:
        self.aborted = True


class Consumer:
    """Hands over what is put into it."""

    def __init__(self) -> None:
        self.waiting: asyncio.Queue[list[Delivery] | Exception] = asyncio.Queue()
        self.limits: list[int] = []
        self.extended: list[list[Delivery]] = []
        self.lost: list[Delivery] = []
        self.away = 0

    async def revocations(self) -> dict[str, str]:
        return {}

    async def receive(self, limit: int) -> list[Delivery]:
        self.limits.append(limit)
        found = await self.waiting.get()
        if isinstance(found, Exception):
            raise found
        return found

    async def extend(self, deliveries: Collection[Delivery]) -> list[Delivery]:
        if self.away:
            self.away -= 1
            raise OperationalError("away")
        self.extended.append(list(deliveries))
        return self.lost


class Bench:
    """A dispatcher among stand-ins for what is around it."""

    def __init__(self, app: TaskQ, size: int = 2, window: int = 8) -> None:
        self.app = app
        self.pool = Pool(size)
        self.consumer = Consumer()
        self.settlements: list[tuple[Settlement, Job | None]] = []
        self.overloaded = False
        fates = Fates(app)
        parts: Any = (self.consumer, Admission(app, fates), fates, self.pool, Window(window))
        self.dispatcher = Dispatcher(*parts)
        stand_in: Any = self
        self.dispatcher.connect(stand_in)

    # What it uses of the settler

    def add(self, settlement: Settlement, job: Job | None = None) -> None:
        self.settlements.append((settlement, job))

    async def finished(self) -> None:
        self.write()

    # What a test does

    def write(self) -> list[Settlement]:
        """Write what is to be settled."""
        written, self.settlements = self.settlements, []
        self.dispatcher.settled([job for _, job in written if job is not None])
        return [settlement for settlement, _ in written]

    def admit(self, *names: str, **options: Any) -> list[Delivery]:
        deliveries = [make_delivery(self.app, name, **options) for name in names]
        self.dispatcher.admit(deliveries)
        return deliveries

    def finish(self, job: Job) -> None:
        self.pool.jobs.remove(job)
        self.dispatcher.finished(job, Report(job.ticket, Fate.DONE, "SUCCESS"))
        self.dispatcher.has_room()

    @property
    def running(self) -> list[str]:
        return [job.task.name for job in self.pool.jobs]


@pytest.fixture
def app(app: TaskQ) -> TaskQ:
    for name in "abcdef":
        app.task(name=name)(lambda: None)
    app.task(name="early", acks_late=False)(lambda: None)
    return app


def test_what_has_room_runs_and_the_rest_waits(app: TaskQ) -> None:
    bench = Bench(app)
    bench.admit("a", "b", "c", "d")
    assert bench.running == ["a", "b"]
    assert bench.dispatcher.in_flight == 4
    bench.finish(bench.pool.jobs[0])
    assert bench.running == ["b", "c"]
    (settlement,) = bench.write()
    assert (settlement.fate, settlement.delivery.message.task) == (Fate.DONE, "a")
    assert bench.dispatcher.in_flight == 3


def test_the_urgent_run_first(app: TaskQ) -> None:
    bench = Bench(app, size=1)
    bench.admit("a", "b")
    bench.admit("c", priority=5)
    bench.admit("d", priority=9)
    order = []
    while bench.pool.jobs:
        order += bench.running
        bench.finish(bench.pool.jobs[0])
    assert order == ["a", "d", "c", "b"]


def test_what_is_not_admitted_is_settled(app: TaskQ) -> None:
    bench = Bench(app)
    (unknown,) = bench.admit("x")
    (job,) = bench.pool.jobs  # a process is to tell whoever must know
    assert job.verdict is not None
    assert bench.write() == []
    bench.dispatcher.finished(job, Report(job.ticket, Fate.DONE, "FAILURE"))
    (settlement,) = bench.write()
    assert (settlement.delivery, settlement.fate) == (unknown, Fate.DEAD)
    assert bench.dispatcher.in_flight == 0


def test_an_end_is_told_before_it_is_settled(app: TaskQ) -> None:
    app.conf.update(task_max_crashes=1)
    bench = Bench(app)
    bench.admit("a")
    job = bench.pool.jobs.pop()
    bench.dispatcher.lost(job, Loss.CRASHED, "signal 9")
    assert bench.write() == []
    bench.dispatcher.has_room()
    assert bench.pool.jobs.pop() is job
    assert job.verdict is not None
    bench.dispatcher.lost(job, Loss.CRASHED, "signal 9 again")
    bench.dispatcher.has_room()
    assert bench.pool.jobs.pop() is job
    assert job.verdict.sentence.quiet
    bench.dispatcher.lost(job, Loss.CRASHED, "signal 9 for the last time")
    (settlement,) = bench.write()
    assert settlement.fate is Fate.DEAD
    assert bench.dispatcher.in_flight == 0


def test_an_end_is_not_told_while_everything_stops(app: TaskQ) -> None:
    app.conf.update(task_max_crashes=1)
    bench = Bench(app)
    bench.admit("a")
    job = bench.pool.jobs.pop()
    bench.dispatcher.abort()
    bench.dispatcher.lost(job, Loss.CRASHED, "signal 9")
    (settlement,) = bench.write()
    assert settlement.fate is Fate.DEAD


@pytest.mark.parametrize("how", ["give_back", "abort"])
def test_an_end_that_another_worker_would_come_to_is_given_back(app: TaskQ, how: str) -> None:
    """A chord may wait for it: whoever gets it next tells of its end."""
    bench = Bench(app, size=1)
    (_, unknown) = bench.admit("a", "x")
    getattr(bench.dispatcher, how)()
    (settlement,) = bench.write()
    assert settlement.delivery is unknown
    assert (settlement.fate, settlement.unused) == (Fate.REQUEUE, True)


def test_losses_are_settled(app: TaskQ) -> None:
    bench = Bench(app)
    bench.admit("a")
    job = bench.pool.jobs.pop()
    bench.dispatcher.lost(job, Loss.CRASHED, "signal 9")
    (settlement,) = bench.write()
    assert (settlement.fate, settlement.crashed) == (Fate.REQUEUE, True)
    assert bench.dispatcher.in_flight == 0


# Revoked


def test_what_waits_and_is_revoked_is_not_run(app: TaskQ) -> None:
    bench = Bench(app, size=1)
    bench.admit("a", task_id="1")
    bench.admit("a", task_id="2")
    (running,) = bench.pool.jobs
    bench.dispatcher.revoke({"2": "", "unknown": "", "1": ""})
    assert bench.pool.jobs == [running], "the pool is full"
    bench.finish(running)
    (job,) = bench.pool.jobs
    assert job.verdict is not None
    bench.dispatcher.finished(job, Report(job.ticket, Fate.DONE, "REVOKED"))
    done, revoked = bench.write()
    assert done.outcome is None
    assert revoked.outcome is not None
    assert (revoked.fate, revoked.outcome.state) == (Fate.DONE, "REVOKED")


def test_what_comes_after_it_was_revoked_is_not_run(app: TaskQ) -> None:
    bench = Bench(app)
    bench.dispatcher.revoke({"1": "SIGTERM"})
    bench.admit("a", task_id="1")
    (job,) = bench.pool.jobs
    assert job.verdict is not None
    assert job.verdict.sentence.error == "TaskRevokedError"


# The same message once more


def test_a_message_that_comes_again_settles_what_runs(app: TaskQ) -> None:
    bench = Bench(app, size=1)
    bench.admit("a", task_id="1")
    (again,) = bench.admit("a", task_id="1", deliveries=2)
    assert bench.dispatcher.in_flight == 1
    assert bench.dispatcher.deliveries() == [again]
    bench.finish(bench.pool.jobs[0])
    assert [settlement.delivery for settlement in bench.write()] == [again]
    assert bench.running == []


@pytest.mark.parametrize("how", ["lost", "rejected"])
def test_one_that_is_given_back_may_come_again_at_once(app: TaskQ, how: str) -> None:
    """The broker has it again before the settler tells that it is written."""
    bench = Bench(app, size=1)
    bench.admit("a", task_id="1")
    job = bench.pool.jobs.pop()
    if how == "lost":
        bench.dispatcher.lost(job, Loss.CRASHED, "signal 9")
    else:
        bench.dispatcher.finished(job, Report(job.ticket, Fate.REQUEUE, "REJECTED"))
    (again,) = bench.admit("a", task_id="1", deliveries=2)
    assert [settlement.fate for settlement in bench.write()] == [Fate.REQUEUE]
    assert bench.dispatcher.deliveries() == [again]
    assert bench.running == ["a"]


@pytest.mark.parametrize(
    "other",
    [{"task_id": "2"}, {"queue": "other"}, {"retries": 1}, {"replaced_task_nesting": 1}],
    ids=str,
)
def test_what_only_looks_the_same_runs_as_well(app: TaskQ, other: dict[str, Any]) -> None:
    bench = Bench(app)
    bench.admit("a", task_id="1")
    bench.admit("a", **{"task_id": "1", "deliveries": 2, **other})
    assert bench.running == ["a", "a"]


# Acknowledged before they run


def test_early_acknowledgement(app: TaskQ) -> None:
    bench = Bench(app, size=2)
    deliveries = bench.admit("early", "early", "early")
    assert bench.running == []
    written = bench.write()
    assert [settlement.fate for settlement in written] == [Fate.DONE, Fate.DONE]
    assert [settlement.delivery for settlement in written] == deliveries[:2]
    assert all(settlement.outcome is None for settlement in written)
    assert bench.running == ["early", "early"]
    assert bench.dispatcher.deliveries() == deliveries[2:]  # no leases of what is acknowledged
    bench.finish(bench.pool.jobs[0])
    first, second = (bench.write(), bench.write())
    assert [settlement.acknowledged for settlement in first] == [True, False]
    assert second == []
    assert len(bench.running) == 2


def test_what_is_acknowledged_is_next(app: TaskQ) -> None:
    bench = Bench(app, size=1)
    bench.admit("early", "a", "b", "early")
    assert bench.running == ["a"]  # the pool is not kept waiting for the acknowledgement
    bench.write()
    order = []
    while bench.pool.jobs:
        order += bench.running
        bench.finish(bench.pool.jobs[0])
        bench.write()
    assert order == ["a", "early", "b", "early"]
    assert bench.dispatcher.in_flight == 0


# Fetching


async def fetch(bench: Bench) -> asyncio.Task[None]:
    task = asyncio.create_task(bench.dispatcher.fetch())
    await asyncio.sleep(0)
    return task


async def cancel(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.wait([task])


async def turns(count: int = 5) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def test_it_fetches_what_there_is_room_for(app: TaskQ) -> None:
    bench = Bench(app, size=2, window=8)
    task = await fetch(bench)
    bench.consumer.waiting.put_nowait([make_delivery(app, "a") for _ in range(5)])
    await turns()
    assert bench.consumer.limits == [8, 3]
    bench.consumer.waiting.put_nowait([make_delivery(app, "b") for _ in range(3)])
    await turns()
    assert bench.consumer.limits == [8, 3]  # it is full
    bench.finish(bench.pool.jobs[0])
    bench.write()
    await turns()
    assert bench.consumer.limits == [8, 3]  # a little room is not worth a question
    bench.finish(bench.pool.jobs[0])
    bench.write()
    await turns()
    assert bench.consumer.limits == [8, 3, 2]
    await cancel(task)


async def test_it_does_not_fetch_while_too_much_is_unwritten(app: TaskQ) -> None:
    bench = Bench(app)
    bench.overloaded = True
    task = await fetch(bench)
    await turns()
    assert bench.consumer.limits == []
    bench.overloaded = False
    bench.dispatcher.settled([])
    await turns()
    assert bench.consumer.limits == [8]
    await cancel(task)


async def test_it_goes_on_when_the_broker_is_back(
    app: TaskQ, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("taskq.worker.dispatcher._PAUSE", 0.0)
    bench = Bench(app)
    for _ in range(3):
        bench.consumer.waiting.put_nowait(OperationalError("away"))
    bench.consumer.waiting.put_nowait([make_delivery(app, "a")])
    task = await fetch(bench)
    async with asyncio.timeout(20):
        while not bench.running:  # noqa: ASYNC110 - the stand-ins have no events
            await asyncio.sleep(0)
    assert [record.getMessage() for record in caplog.records] == [
        "cannot consume, and tries again until it can: away",
        "consuming again",
    ]
    await cancel(task)


# Leases


async def test_leases_are_kept(app: TaskQ) -> None:
    bench = Bench(app, size=1)
    running, waiting = bench.admit("a", "b")
    bench.consumer.away = 2
    bench.consumer.lost = [running, waiting]
    task = asyncio.create_task(keep_leases(bench.dispatcher, bench.consumer, 0.01))
    async with asyncio.timeout(20):
        while not bench.consumer.extended:  # noqa: ASYNC110 - the stand-ins have no events
            await asyncio.sleep(0)
    await cancel(task)
    assert bench.consumer.extended[0] == [running, waiting]
    # What runs goes on, since it may settle first; what waits is another worker's.
    assert bench.dispatcher.deliveries() == [running]
    bench.finish(bench.pool.jobs[0])
    bench.write()
    assert bench.running == []


# Stopping


def test_giving_back_what_waits(app: TaskQ) -> None:
    bench = Bench(app, size=1)
    bench.admit("a", "b", "c")
    bench.dispatcher.give_back()
    written = bench.write()
    assert [settlement.delivery.message.task for settlement in written] == ["b", "c"]
    assert all(s.fate is Fate.REQUEUE and s.unused for s in written)
    assert bench.dispatcher.in_flight == 1


def test_what_is_acknowledged_is_not_given_back(app: TaskQ) -> None:
    bench = Bench(app, size=1)
    bench.admit("a")
    job = bench.pool.jobs.pop()
    bench.admit("early", "early")
    bench.dispatcher.finished(job, Report(job.ticket, Fate.DONE, "SUCCESS"))
    bench.dispatcher.has_room()
    assert [settlement.fate for settlement, _ in bench.settlements] == [Fate.DONE, Fate.DONE]
    bench.dispatcher.give_back()  # while one of them is being acknowledged
    fates = [settlement.fate for settlement in bench.write()]
    assert fates == [Fate.DONE, Fate.DONE, Fate.REQUEUE]
    assert bench.running == ["early"]
    bench.finish(bench.pool.jobs[0])
    (settlement,) = bench.write()
    assert settlement.acknowledged
    assert bench.dispatcher.in_flight == 0


def test_an_abort_leaves_nothing_behind(app: TaskQ) -> None:
    bench = Bench(app, size=2)
    bench.admit("early", "early", "early", "a")
    bench.write()
    for job in list(bench.pool.jobs):
        bench.pool.jobs.remove(job)
        bench.dispatcher.lost(job, Loss.UNSTARTED, "stopped")
    bench.dispatcher.give_back()
    bench.dispatcher.abort()
    for _ in range(5):
        bench.write()
    assert bench.pool.aborted
    assert bench.dispatcher.in_flight == 0


async def test_idle_waits_for_all(app: TaskQ) -> None:
    bench = Bench(app, size=1)
    bench.admit("a", "b")
    idle = asyncio.create_task(bench.dispatcher.idle())
    for _ in range(2):
        await turns()
        assert not idle.done()
        bench.finish(bench.pool.jobs[0])
        bench.write()
    async with asyncio.timeout(20):
        await idle


async def test_a_broken_pool_ends_the_waiting(app: TaskQ) -> None:
    bench = Bench(app)
    bench.admit("a")
    idle = asyncio.create_task(bench.dispatcher.idle())
    await turns()
    bench.dispatcher.broken("it fell over")
    async with asyncio.timeout(20):
        await idle
    assert bench.dispatcher.failure == "it fell over"
