"""The settler: nothing that it is given is lost, whatever the store does."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest

from taskq.backends.base import ChordPart, Outcome
from taskq.brokers.base import Delivery, Fate, Settlement
from taskq.exceptions import OperationalError, QueueNotFound
from taskq.message import TaskMessage
from taskq.worker import settler as module
from taskq.worker.job import Job
from taskq.worker.settler import Settler


class Store:
    """Broker, consumer and result store, which fail as they are told."""

    addressed = False

    def __init__(self, one_step: bool) -> None:
        self.one_step = one_step
        self.failures: list[Exception] = []
        self.poison: dict[str, Exception] = {}
        self.calls: list[str] = []
        self.batches: list[list[Settlement]] = []
        self.published: list[TaskMessage] = []
        self.stored: list[Outcome] = []
        self.parts: dict[tuple[str, int], bytes] = {}

    def settles_into(self, backend: object) -> bool:
        return self.one_step

    def _maybe_fail(self, name: str) -> None:
        self.calls.append(name)
        if self.failures:
            raise self.failures.pop(0)

    async def settle(self, batch: Sequence[Settlement]) -> None:
        self._maybe_fail("settle")
        for item in batch:
            if item.outcome and item.outcome.task_id in self.poison:
                raise self.poison[item.outcome.task_id]
            if item.part and item.part.group in self.poison:
                raise self.poison[item.part.group]
            for message in item.follow_ups:
                if message.id in self.poison:
                    raise self.poison[message.id]
        self.batches.append(list(batch))

    async def apublish(self, messages: Sequence[TaskMessage]) -> None:
        self._maybe_fail("publish")
        self.published += messages

    def store(self, outcomes: Sequence[Outcome]) -> None:
        self._maybe_fail("store")
        self.stored += outcomes

    def add_parts(self, parts: Sequence[ChordPart]) -> list[ChordPart]:
        self._maybe_fail("count")
        for part in parts:
            self.parts.setdefault((part.group, part.index), part.payload)
        groups = [group for group, _ in self.parts]
        return [part for part in parts if groups.count(part.group) >= part.size]

    @property
    def settled(self) -> list[Settlement]:
        return [item for batch in self.batches for item in batch]


def settlement(n: int, fate: Fate = Fate.DONE, **more: Any) -> Settlement:
    message = TaskMessage({"id": str(n), "task": "t"}, b"")
    delivery = Delivery(message, b"", "q", n)
    more.setdefault("outcome", Outcome(str(n), "SUCCESS", b"{}"))
    return Settlement(delivery, fate, **more)


def follow_up(n: int) -> TaskMessage:
    return TaskMessage({"id": f"f{n}", "task": "t"}, b"body", once=f"{n}:chain")


def part(n: int, size: int = 2) -> ChordPart:
    done = TaskMessage({"id": "done", "task": "t"}, b"body", once="g:chord")
    return ChordPart("g", n, size, b"%d" % n, done)


def ids(settlements: Sequence[Settlement]) -> list[str]:
    return [item.delivery.message.id for item in settlements]


@contextlib.asynccontextmanager
async def running(store: Store) -> AsyncIterator[tuple[Settler, list[Job]]]:
    """A settler at work, and the jobs that it says are settled."""
    over: list[Job] = []
    stand_in: Any = store
    settler = Settler(stand_in, stand_in, stand_in, over.extend)
    task = asyncio.create_task(settler.run())
    try:
        async with asyncio.timeout(20):
            yield settler, over
        assert not task.done()
    finally:
        task.cancel()
        await asyncio.wait([task])


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Store:
    """A store that settles in one step, and pauses that take no time."""
    monkeypatch.setattr(module, "_FIRST_PAUSE", 0.0)
    monkeypatch.setattr(module, "_LAST_PAUSE", 0.0)
    return Store(one_step=True)


async def test_it_writes_what_it_is_given(store: Store) -> None:
    async with running(store) as (settler, over):
        jobs: Any = [object() for _ in range(3)]
        for n, job in enumerate(jobs):
            settler.add(settlement(n), job)
        settler.add(settlement(3))
        await settler.finished()
        assert over == jobs
    assert [ids(batch) for batch in store.batches] == [["0", "1", "2", "3"]]


async def test_nothing_to_do(store: Store) -> None:
    async with running(store) as (settler, _):
        await settler.finished()
    assert store.calls == []


async def test_batches_are_bounded(store: Store) -> None:
    async with running(store) as (settler, _):
        for n in range(2 * module.BATCH + 1):
            settler.add(settlement(n))
        await settler.finished()
    assert [len(batch) for batch in store.batches] == [module.BATCH, module.BATCH, 1]
    assert ids(store.settled) == [str(n) for n in range(2 * module.BATCH + 1)]


@pytest.mark.parametrize("failures", [1, 2, 10])
async def test_a_store_that_is_away(
    store: Store, failures: int, caplog: pytest.LogCaptureFixture
) -> None:
    store.failures = [OperationalError("away") for _ in range(failures)]
    async with running(store) as (settler, over):
        for n in range(3):
            job: Any = n
            settler.add(settlement(n), job)
        await asyncio.sleep(0)
        settler.add(settlement(3))
        assert over == []
        await settler.finished()
        assert over == [0, 1, 2]
    assert ids(store.settled) == ["0", "1", "2", "3"]
    told = [record.getMessage() for record in caplog.records]
    assert told == [
        "cannot write outcomes, and holds them until it can: away",
        "outcomes can be written again",
    ]


async def test_pauses_grow_and_end(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    pauses = []
    sleep = asyncio.sleep

    async def note(seconds: float) -> None:
        pauses.append(seconds)
        await sleep(0)

    monkeypatch.setattr(module, "_FIRST_PAUSE", 0.1)
    monkeypatch.setattr(module, "_LAST_PAUSE", 5.0)
    monkeypatch.setattr("asyncio.sleep", note)
    store.failures = [OperationalError("away") for _ in range(10)]
    async with running(store) as (settler, _):
        settler.add(settlement(1))
        await settler.finished()
    longest = [min(5.0, 0.1 * 2**n) for n in range(10)]
    assert all(most / 2 <= p <= most for p, most in zip(pauses, longest, strict=True))


async def test_too_much_to_hold(store: Store) -> None:
    store.failures = [OperationalError("away")]
    size = module.MAX_BYTES // 2
    async with running(store) as (settler, _):
        settler.add(settlement(1, outcome=Outcome("1", "SUCCESS", bytes(size))))
        assert not settler.overloaded
        message = follow_up(1)
        message.body = bytes(size + 1)
        settler.add(settlement(2, outcome=None, follow_ups=[message]))
        assert settler.overloaded
        await settler.finished()
        assert not settler.overloaded


# What can never be written


async def test_one_that_cannot_be_written_does_not_hold_up_the_others(store: Store) -> None:
    store.poison = {"f2": QueueNotFound("no queue is bound to exchange 'x'")}
    async with running(store) as (settler, over):
        for n in range(5):
            job: Any = n
            settler.add(settlement(n, follow_ups=[follow_up(n)]), job)
        await settler.finished()
        assert over == [0, 1, 2, 3, 4]
    assert ids(store.settled) == ["0", "1", "2", "3", "4"]
    fates = [(item.fate, len(item.follow_ups)) for item in store.settled]
    assert fates == [(Fate.DONE, 1)] * 2 + [(Fate.DEAD, 0)] + [(Fate.DONE, 1)] * 2
    poisoned = store.settled[2]
    assert "no queue is bound to exchange 'x'" in poisoned.reason
    assert poisoned.outcome is not None  # whoever waits for it gets it


async def test_an_outcome_that_cannot_be_written(store: Store) -> None:
    store.poison = {"1": ValueError("too large")}
    async with running(store) as (settler, _):
        settler.add(settlement(1, follow_ups=[follow_up(1)]))
        await settler.finished()
    (item,) = store.settled
    assert (item.fate, item.outcome, list(item.follow_ups)) == (Fate.DEAD, None, [])
    assert "too large" in item.reason


async def test_a_chord_is_told_even_if_what_follows_cannot_be_written(store: Store) -> None:
    store.poison = {"f1": QueueNotFound("nowhere")}
    async with running(store) as (settler, _):
        settler.add(settlement(1, follow_ups=[follow_up(1)], part=part(1)))
        await settler.finished()
    (item,) = store.settled
    assert (item.fate, list(item.follow_ups), item.part) == (Fate.DEAD, [], part(1))


async def test_a_part_that_cannot_be_written(store: Store) -> None:
    store.poison = {"g": ValueError("cannot count")}
    async with running(store) as (settler, _):
        settler.add(settlement(1, follow_ups=[follow_up(1)], part=part(1)))
        await settler.finished()
    (item,) = store.settled
    assert (item.fate, item.part) == (Fate.DEAD, None)
    assert item.outcome is not None
    assert "cannot count" in item.reason


async def test_the_reason_of_a_dead_letter_is_kept(store: Store) -> None:
    store.poison = {"1": ValueError("too large")}
    async with running(store) as (settler, _):
        settler.add(settlement(1, Fate.DEAD, reason="it kills"))
        await settler.finished()
    assert store.settled[0].reason.startswith("it kills; ")


async def test_what_cannot_be_written_at_all_is_left(store: Store) -> None:
    """The worker goes on; the message comes again when its lease ends."""
    store.failures = [RuntimeError("broken") for _ in range(3)]
    async with running(store) as (settler, over):
        first: Any = "first"
        settler.add(settlement(1, follow_ups=[follow_up(1)]), first)
        await settler.finished()
        settler.add(settlement(2))
        await settler.finished()
        assert over == ["first"]
    assert ids(store.settled) == ["2"]


async def test_away_in_the_middle_of_trying_one_by_one(store: Store) -> None:
    store.poison = {"f1": QueueNotFound("nowhere")}
    async with running(store) as (settler, _):
        for n in range(3):
            settler.add(settlement(n, follow_ups=[follow_up(n)]))
        store.failures = [
            ValueError("the batch"),
            OperationalError("away"),  # for the first alone
            OperationalError("away"),
        ]
        await settler.finished()
    assert ids(store.settled) == ["0", "1", "2"]
    assert [item.fate for item in store.settled] == [Fate.DONE, Fate.DEAD, Fate.DONE]


# A result store of its own


async def test_the_order_of_two_stores(store: Store) -> None:
    store.one_step = False
    async with running(store) as (settler, _):
        settler.add(settlement(1, follow_ups=[follow_up(1)]))
        settler.add(settlement(2, outcome=None))
        settler.add(settlement(3, acknowledged=True))
        await settler.finished()
    assert store.calls == ["publish", "store", "settle"]
    assert [message.id for message in store.published] == ["f1"]
    assert [outcome.task_id for outcome in store.stored] == ["1", "3"]
    assert [(item.outcome, list(item.follow_ups)) for item in store.settled] == [(None, [])] * 2
    assert ids(store.settled) == ["1", "2"]


async def test_only_what_there_is_to_write(store: Store) -> None:
    store.one_step = False
    async with running(store) as (settler, _):
        settler.add(settlement(1, outcome=None))
        await settler.finished()
        settler.add(settlement(2, acknowledged=True))
        await settler.finished()
    assert store.calls == ["settle", "store"]


@pytest.mark.parametrize("step", [0, 1, 2])
async def test_two_stores_of_which_one_is_away(store: Store, step: int) -> None:
    store.one_step = False
    fail = OperationalError("away")
    calls = ["publish", "store", "settle"]
    original = store._maybe_fail

    def maybe_fail(name: str) -> None:
        original(name)
        if name == calls[step] and store.calls.count(name) == 1:
            raise fail

    store._maybe_fail = maybe_fail  # type: ignore[method-assign]
    async with running(store) as (settler, _):
        settler.add(settlement(1, follow_ups=[follow_up(1)]))
        await settler.finished()
    assert ids(store.settled) == ["1"]
    # A step that is done again is recognised by its key.
    assert {message.once for message in store.published} == {"1:chain"}
    assert {outcome.task_id for outcome in store.stored} == {"1"}


async def test_members_of_chords_are_counted_before_they_are_settled(store: Store) -> None:
    store.one_step = False
    async with running(store) as (settler, _):
        settler.add(settlement(0, part=part(0)))
        await settler.finished()
        assert store.calls == ["count", "store", "settle"]
        assert store.published == []
        settler.add(settlement(1, part=part(1), acknowledged=True))
        await settler.finished()
    assert store.calls[3:] == ["count", "publish", "store"]
    assert store.parts == {("g", 0): b"0", ("g", 1): b"1"}
    assert [message.id for message in store.published] == ["done"]
    assert [item.part for item in store.settled] == [None]


async def test_in_one_step_they_are_counted_there(store: Store) -> None:
    async with running(store) as (settler, _):
        settler.add(settlement(0, part=part(0)))
        await settler.finished()
    assert store.calls == ["settle"]
    assert [item.part for item in store.settled] == [part(0)]


@pytest.mark.parametrize("step", ["store", "count", "publish", "settle"])
async def test_away_while_members_are_counted(store: Store, step: str) -> None:
    store.one_step = False
    original = store._maybe_fail

    def maybe_fail(name: str) -> None:
        original(name)
        if name == step and store.calls.count(name) == 1:
            raise OperationalError("away")

    store._maybe_fail = maybe_fail  # type: ignore[method-assign]
    async with running(store) as (settler, _):
        settler.add(settlement(0, part=part(0)))
        settler.add(settlement(1, part=part(1)))
        await settler.finished()
    assert ids(store.settled) == ["0", "1"]
    assert store.parts == {("g", 0): b"0", ("g", 1): b"1"}
    # Told as often as it is counted; the key makes it one message.
    assert {message.once for message in store.published} == {"g:chord"}
