"""A worker's events: what is told of each task, and what it costs when nobody listens."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from taskq import TaskQ, states
from taskq.brokers.base import Fate
from taskq.brokers.notices import AsyncSubscription
from taskq.events.event import events_channel, read_events
from taskq.exceptions import ImproperlyConfigured, OperationalError
from taskq.execution import Report
from taskq.worker.pool.base import Loss
from tests.unit.control_bench import ControlBench, control_bench


class Ear:
    """Hears what is told, one event after the other."""

    def __init__(self, subscription: AsyncSubscription) -> None:
        self._subscription = subscription
        self.keys: list[str] = []
        self.events: list[dict[str, Any]] = []

    async def until(self, kind: str) -> dict[str, Any]:
        """The next event of a type; all before it are in `events`."""
        async with asyncio.timeout(10):
            while True:
                for n, event in enumerate(self.events):
                    if event["type"] == kind:
                        del self.events[: n + 1]
                        return event
                for notice in await self._subscription.receive():
                    self.keys.append(notice.key)
                    self.events += read_events(notice)


@pytest.fixture
def app(app: TaskQ, monkeypatch: pytest.MonkeyPatch) -> TaskQ:
    monkeypatch.setattr("taskq.worker.events._EVERY", 0.01)

    @app.task(name="add")
    def add(x: int, y: int) -> int:
        return x + y

    @app.task(name="secret", send_events=False)
    def secret() -> None: ...

    return app


@pytest.fixture
async def bench(app: TaskQ) -> AsyncIterator[ControlBench]:
    async with control_bench(app) as bench:
        yield bench


@pytest.fixture
async def ear(app: TaskQ) -> AsyncIterator[Ear]:
    async with await app.broker.asubscribe(events_channel(app.conf)) as subscription:
        yield Ear(subscription)


async def started(bench: ControlBench, name: str = "add", **options: Any) -> Any:
    """A job that the pool has taken."""
    before = len(bench.pool.jobs)
    bench.app.send_task(name, (1, 2) if name == "add" else (), **options)
    await bench.until(lambda: len(bench.pool.jobs) > before, "it to start")
    return bench.pool.jobs[-1]


def end(bench: ControlBench, job: Any, **report: Any) -> None:
    bench.pool.jobs.remove(job)
    fate = report.pop("fate", Fate.DONE)
    bench.dispatcher.finished(job, Report(job.ticket, fate, **report))


async def test_a_task_from_start_to_end(bench: ControlBench, ear: Ear) -> None:
    assert await bench.order("enable_events") == {"ok": "task events enabled"}
    online = await ear.until("worker-online")
    assert (online["hostname"], online["sw_ident"], online["active"]) == ("w@here", "py-taskq", 0)
    job = await started(bench)
    received = await ear.until("task-received")
    assert received["uuid"] == job.id
    assert (received["name"], received["args"], received["kwargs"]) == ("add", "(1, 2)", "{}")
    assert (received["retries"], received["root_id"], received["eta"]) == (0, job.id, None)
    begun = await ear.until("task-started")
    assert begun["uuid"] == job.id
    assert begun["timestamp"] < received["timestamp"], "when it began, not when it was seen"
    end(bench, job, state=states.SUCCESS, runtime=0.25, text="3")
    succeeded = await ear.until("task-succeeded")
    assert (succeeded["result"], succeeded["runtime"]) == ("3", 0.25)
    assert succeeded["clock"] > begun["clock"] > received["clock"]
    assert ear.keys[0] == "worker.online"
    assert {key.partition(".")[0] for key in ear.keys} == {"worker", "task"}


async def test_one_that_has_ended_before_it_was_seen(bench: ControlBench, ear: Ear) -> None:
    await bench.order("enable_events")
    await bench.until(lambda: not bench.events._held, "the first to be told")
    bench.app.send_many([bench.app.signature("add", (n, 1)) for n in range(2)])
    await bench.until(lambda: len(bench.pool.jobs) == 2, "both to start")
    for job in list(bench.pool.jobs):
        end(bench, job, state=states.SUCCESS, runtime=0.25, text="3")
    for _ in range(2):
        begun = await ear.until("task-started")
        ended = await ear.until("task-succeeded")
        assert begun["uuid"] == ended["uuid"]
        assert ended["timestamp"] - begun["timestamp"] >= 0.2
    assert bench.events._started == set()


@pytest.mark.parametrize(
    ("report", "kind", "fields"),
    [
        (
            {"state": states.FAILURE, "text": "E()", "traceback": "T"},
            "task-failed",
            {"exception": "E()", "traceback": "T"},
        ),
        (
            {"state": states.RETRY, "text": "again"},
            "task-retried",
            {"exception": "again", "traceback": None},
        ),
        ({"state": states.REJECTED, "fate": Fate.DEAD}, "task-rejected", {"requeue": False}),
        ({"state": states.REJECTED, "fate": Fate.REQUEUE}, "task-rejected", {"requeue": True}),
    ],
)
async def test_other_ends(
    bench: ControlBench, ear: Ear, report: Any, kind: str, fields: dict[str, Any]
) -> None:
    await bench.order("enable_events")
    job = await started(bench)
    end(bench, job, **report)
    told = await ear.until(kind)
    assert told["uuid"] == job.id
    assert {name: told[name] for name in fields} == fields


async def test_ends_without_a_report(bench: ControlBench, ear: Ear) -> None:
    await bench.order("enable_events")
    jobs = [await started(bench) for _ in range(2)]
    for job in jobs:
        bench.pool.jobs.remove(job)
    jobs[0].task.reject_on_worker_lost = False
    bench.dispatcher.lost(jobs[0], Loss.CRASHED, "it was killed")
    failed = await ear.until("task-failed")
    assert failed["uuid"] == jobs[0].id
    assert "WorkerLostError" in failed["exception"]
    jobs[1].task.reject_on_worker_lost = True
    bench.dispatcher.lost(jobs[1], Loss.CRASHED, "it was killed")
    rejected = await ear.until("task-rejected")
    assert (rejected["uuid"], rejected["requeue"]) == (jobs[1].id, True)


async def test_revoked_expired_and_unknown(bench: ControlBench, ear: Ear) -> None:
    await bench.order("enable_events")
    bench.app.send_task("add", (1, 2), task_id="late", expires=-1)
    told = await ear.until("task-revoked")
    assert (told["uuid"], told["expired"], told["terminated"]) == ("late", True, False)
    await bench.order("revoke", {"task_id": "unwanted"})
    await bench.until(lambda: bench.state.admission.revoked, "it to be known")
    bench.app.send_task("add", (1, 2), task_id="unwanted")
    told = await ear.until("task-revoked")
    assert (told["uuid"], told["expired"], told["terminated"]) == ("unwanted", False, False)
    bench.app.send_task("no_such_task", task_id="unknown")
    received = await ear.until("task-received")
    assert received["name"] == "no_such_task"
    failed = await ear.until("task-failed")
    assert failed["uuid"] == "unknown"
    assert "NotRegistered" in failed["exception"]


async def test_what_may_not_be_read(bench: ControlBench, ear: Ear) -> None:
    await bench.order("enable_events")
    message = bench.app.producer.build("add", (1, 2), {}, {"task_id": "pickled"}, None)
    message.content_type = "application/x-python-serialize"
    bench.app.broker.publish([message])
    failed = await ear.until("task-failed")
    assert failed["uuid"] == "pickled"
    assert "ContentDisallowed" in failed["exception"]


async def test_tasks_that_are_not_told_of(bench: ControlBench, ear: Ear) -> None:
    await bench.order("enable_events")
    end(bench, await started(bench, "secret"), state=states.SUCCESS)
    bench.app.send_task("secret", expires=-1)
    end(bench, job := await started(bench), state=states.SUCCESS)
    ended = await ear.until("task-succeeded")
    assert ended["uuid"] == job.id
    assert not [e for e in ear.events if e.get("name") == "secret"]


async def test_heartbeats(bench: ControlBench, ear: Ear) -> None:
    assert await bench.order("heartbeat") == {"ok": "events are disabled"}
    await bench.order("enable_events")
    await started(bench)
    await ear.until("worker-heartbeat")
    beat = await ear.until("worker-heartbeat")
    assert (beat["freq"], beat["active"], beat["processed"]) == (0.05, 1, 0)
    assert len(beat["loadavg"]) == 3
    assert await bench.order("heartbeat") == {"ok": "heartbeat sent"}


async def test_on_and_off(bench: ControlBench, ear: Ear) -> None:
    assert await bench.order("disable_events") == {"ok": "task events already disabled"}
    end(bench, await started(bench), state=states.SUCCESS)
    assert not bench.events._held, "nothing is gathered while they are off"
    await bench.order("enable_events")
    assert await bench.order("enable_events") == {"ok": "task events already enabled"}
    await ear.until("worker-online")
    assert await bench.order("disable_events") == {"ok": "task events disabled"}
    await ear.until("worker-offline")
    end(bench, await started(bench), state=states.SUCCESS)
    assert not bench.events._held
    await bench.order("enable_events")
    await ear.until("worker-online")
    assert not [each for each in ear.events if each["type"].startswith("task-")]
    await bench.events.close()
    await ear.until("worker-offline")


async def test_what_is_held_is_bounded(
    bench: ControlBench, ear: Ear, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("taskq.worker.events.MAX_HELD", 20)
    events = type(bench.events)(bench.app, "other@here", bench.dispatcher, bench.state.pool, None)
    tell = bench.app.broker.abroadcast

    async def away(notices: Any) -> None:
        raise OperationalError("away")

    monkeypatch.setattr(bench.app.broker, "abroadcast", away)
    events.enable()
    job = await started(bench)
    for _ in range(30):
        events.received(job)
    await events.flush()
    await events.flush()
    assert len(events._held) == 20
    monkeypatch.setattr(bench.app.broker, "abroadcast", tell)
    await events.flush()
    assert "12 events were lost" in caplog.text
    assert not events._held


async def test_a_broker_without_channels(
    bench: ControlBench, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def cannot(notices: Any) -> None:
        raise ImproperlyConfigured("it has no channels")

    monkeypatch.setattr(bench.app.broker, "abroadcast", cannot)
    bench.events.enable()
    await bench.until(lambda: not bench.events.enabled, "events to be off")
    assert "no events: it has no channels" in caplog.text
