"""Records of runs: what was delivered before waits, is dropped, or runs."""

from __future__ import annotations

import time
from typing import Any

import pytest

from taskq import states
from taskq.backends.base import Outcome
from taskq.backends.disabled import DisabledBackend
from taskq.backends.memory import MemoryBackend
from taskq.brokers.base import Delivery, Fate, Settlement
from taskq.exceptions import OperationalError
from taskq.message import TaskMessage, pack
from taskq.worker.job import Job
from taskq.worker.pool.base import Running
from taskq.worker.runs import Runs


def delivery(deliveries: int = 2, once: str | None = None, identity: str = "q/1") -> Delivery:
    message = TaskMessage({"id": "a", "task": "proj.add"}, b"", once=once)
    return Delivery(message, pack(message), "q", None, deliveries, identity=identity)


def job(of: Delivery) -> Job:
    return Job(1, of, None)  # type: ignore[arg-type]


@pytest.fixture
def backend() -> MemoryBackend:
    return MemoryBackend()


@pytest.fixture
def here(backend: MemoryBackend) -> Runs:
    return Runs(backend, "here", 30.0)


@pytest.fixture
def there(backend: MemoryBackend) -> Runs:
    return Runs(backend, "there", 30.0)


def long_run(of: Delivery) -> Running:
    return Running(job(of), 1, time.monotonic() - 20)


async def sift(runs: Runs, *found: Delivery, is_here: bool = False) -> tuple[Any, Any]:
    return await runs.sift(found, lambda _: is_here)


async def test_what_was_never_delivered_before_runs(here: Runs) -> None:
    found = delivery(1)
    assert await sift(here, found) == ((found,), ())


async def test_what_nobody_noted_runs_again(here: Runs) -> None:
    found = delivery()
    assert await sift(here, found) == ([found], [])


async def test_what_runs_elsewhere_waits(here: Runs, there: Runs) -> None:
    await there.note([long_run(delivery(1))])
    may_run, (end,) = await sift(here, delivery())
    assert may_run == []
    assert (end.fate, end.unused) == (Fate.REQUEUE, True)
    assert 25 < end.delay <= 30


async def test_a_short_run_is_not_noted(there: Runs, backend: MemoryBackend, here: Runs) -> None:
    await there.note([Running(job(delivery(1)), 1, time.monotonic() - 1)])
    may_run, _ = await sift(here, delivery())
    assert len(may_run) == 1


async def test_what_a_broker_leases_is_not_noted(there: Runs, here: Runs) -> None:
    await there.note([long_run(delivery(1, identity=""))])
    may_run, _ = await sift(here, delivery(identity=""))
    assert len(may_run) == 1


async def test_what_runs_here_is_let_through(here: Runs) -> None:
    await here.note([long_run(delivery(1))])
    may_run, ends = await sift(here, delivery(), is_here=True)
    assert (len(may_run), ends) == (1, [])


async def test_a_record_that_was_not_renewed_means_nothing(
    backend: MemoryBackend, here: Runs
) -> None:
    await Runs(backend, "there", -1.0).note([long_run(delivery(1))])
    may_run, _ = await sift(here, delivery())
    assert len(may_run) == 1


async def test_what_has_ended_elsewhere_is_dropped(
    backend: MemoryBackend, here: Runs, there: Runs
) -> None:
    one = long_run(delivery(1))
    await there.note([one])
    end = Settlement(one.job.delivery, Fate.DONE, Outcome("a", states.FAILURE, b""))
    there.end(one.job, end)
    backend.store(end.outcomes())
    may_run, (dropped,) = await sift(here, delivery())
    assert (may_run, dropped.fate) == ([], Fate.DONE)


async def test_what_was_given_back_has_not_ended(backend: MemoryBackend, there: Runs) -> None:
    one = long_run(delivery(1))
    await there.note([one])
    end = Settlement(one.job.delivery, Fate.REQUEUE)
    there.end(one.job, end)
    assert end.further == ()


async def test_what_has_succeeded_is_dropped(backend: MemoryBackend, here: Runs) -> None:
    backend.store([Outcome("a", states.SUCCESS, b"")])
    for found in (delivery(), delivery(1, once="step")):
        may_run, (dropped,) = await sift(here, found)
        assert (may_run, dropped.fate) == ([], Fate.DONE)


async def test_what_has_failed_runs_again(backend: MemoryBackend, here: Runs) -> None:
    backend.store([Outcome("a", states.FAILURE, b"")])
    may_run, _ = await sift(here, delivery())
    assert len(may_run) == 1


async def test_while_the_store_is_away(
    backend: MemoryBackend, here: Runs, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(ids: object) -> None:
        raise OperationalError("away")

    monkeypatch.setattr(backend, "afetch", away)
    step, again = delivery(1, once="step"), delivery()
    may_run, (end,) = await sift(here, step, again)
    assert may_run == [step]
    assert (end.delivery, end.fate) == (again, Fate.REQUEUE)


async def test_a_step_that_was_sent_twice_runs_once(here: Runs) -> None:
    first, second = delivery(1, once="step"), delivery(1, once="step", identity="q/2")
    may_run, (dropped,) = await sift(here, first, second)
    assert may_run == [first]
    assert (dropped.delivery, dropped.fate) == (second, Fate.DONE)


async def test_a_step_that_is_here_already_is_dropped(here: Runs) -> None:
    found = delivery(1, once="step")
    may_run, (dropped,) = await sift(here, found, is_here=True)
    assert (may_run, dropped.fate) == ([], Fate.DONE)


async def test_a_step_that_comes_again_settles_the_one_that_is_here(here: Runs) -> None:
    found = delivery(2, once="step")
    may_run, ends = await sift(here, found, is_here=True)
    assert (may_run, ends) == ([found], [])


# What was sent once more since its confirm did not come


def copy(identity: str = "q/1", **headers: Any) -> Delivery:
    found = delivery(1, once="again:1", identity=identity)
    found.message.headers.update(headers)
    return found


async def test_a_copy_is_dropped_beside_what_it_is_a_copy_of(here: Runs) -> None:
    first, second = delivery(1), copy()
    may_run, (dropped,) = await sift(here, first, second)
    assert (may_run, dropped.delivery, dropped.fate) == ([first], second, Fate.DONE)


@pytest.mark.parametrize("state", [states.SUCCESS, states.FAILURE, states.RETRY])
async def test_a_copy_is_dropped_of_what_has_run(
    backend: MemoryBackend, here: Runs, state: str
) -> None:
    backend.store([Outcome("a", state, b"")])
    may_run, (dropped,) = await sift(here, copy())
    assert (may_run, dropped.fate) == ([], Fate.DONE)


async def test_a_copy_is_dropped_of_what_runs_elsewhere(here: Runs, there: Runs) -> None:
    await there.note([long_run(delivery(1))])
    may_run, (dropped,) = await sift(here, copy())
    assert (may_run, dropped.fate) == ([], Fate.DONE)


async def test_a_copy_of_what_nobody_knows_waits_once(here: Runs) -> None:
    found = copy()
    may_run, (end,) = await sift(here, found)
    assert (may_run, end.fate, end.unused, end.delay) == ([], Fate.REQUEUE, True, 30.0)
    found.message.due = time.time()
    assert await sift(here, found) == ([found], [])


async def test_without_a_store_a_copy_does_not_wait() -> None:
    found, again = copy(), delivery(identity="q/2")
    runs = Runs(DisabledBackend(), "here", 30.0)
    assert await sift(runs, found, again) == ([found, again], [])


# Ticks


async def test_of_two_copies_of_a_tick_the_first_counts(here: Runs, there: Runs) -> None:
    one, other = (delivery(1, once="beat:t", identity=f"q/{n}") for n in range(2))
    assert await sift(there, one) == ([one], [])
    may_run, (dropped,) = await sift(here, other)
    assert (may_run, dropped.fate) == ([], Fate.DONE)
    # Its worker has died: the copy that counts comes again.
    again = delivery(2, once="beat:t", identity="q/0")
    assert await sift(here, again) == ([again], [])


async def test_a_tick_counts_once_in_each_queue(here: Runs) -> None:
    one, other = (delivery(1, once="beat:t", identity=f"q{n}/1") for n in range(2))
    other.queue = "q2"
    assert await sift(here, one) == ([one], [])
    assert await sift(here, other) == ([other], [])
