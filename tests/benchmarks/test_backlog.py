"""What the figures of a long queue are made from."""

from __future__ import annotations

import io
from array import array
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest

from benchmarks.adapters.base import BulkAdapter, DelayingAdapter
from benchmarks.adapters.producer import Producer
from benchmarks.catalogue import SUBJECTS
from benchmarks.marks import Marks
from benchmarks.measures import Values, backlog
from benchmarks.plan import QUICK
from benchmarks.session import Session, TrialError

PLAN = replace(QUICK, tasks=100, backlog=120_000, delayed=30)


class Stage:
    """A session whose worker runs as many tasks as are waited for, and `more`.

    Task *i* leaves its clock after `i / rate` seconds. The worker grows by a MiB whenever it is
    waited for. The first stage is the one with the long queue.
    """

    plan = PLAN
    subject = SUBJECTS["taskq-sqlite"]

    def __init__(self, folder: Path, rates: Sequence[float], more: int = 0) -> None:
        self._folder, self._more = folder, more
        self._rate, *self._others = rates
        self._pss = 50 * 2**20
        self.asked: list[dict[str, Any]] = []
        self.marks = Marks.create(folder / "marks", PLAN.slots)

    def __enter__(self) -> Stage:
        return self

    def __exit__(self, *error: object) -> None:
        self.marks.close()

    def beside(self, name: str) -> Stage:
        folder = self._folder / name
        folder.mkdir()
        return Stage(folder, self._others, self._more)

    def ask(self, verb: str, **arguments: Any) -> None:
        self.asked.append({"do": verb, **arguments})

    def start_worker(self) -> None:
        assert sum(asked["count"] for asked in self.asked) >= PLAN.few, "the queue is full by now"

    def wait_for(self, done: Callable[[], int], wanted: int) -> None:
        self._pss += 2**20
        self.leave([1 + index / self._rate for index in range(wanted + self._more)])
        assert done() == wanted

    def worker_pss_bytes(self) -> int:
        return self._pss

    def leave(self, clocks: Sequence[float], slot: int = 0) -> None:
        with (self._folder / "marks").open("r+b") as file:
            file.seek(slot * 8)
            file.write(array("d", clocks).tobytes())


def measure(stage: Stage) -> Values:
    return backlog(cast("Session", stage))


def test_a_long_queue_is_compared_with_a_short_one(tmp_path: Path) -> None:
    with Stage(tmp_path, rates=[80.0, 100.0]) as stage:
        values = measure(stage)
    assert values == {
        "backlog": pytest.approx(80.0),
        "backlog_short": pytest.approx(100.0),
        "backlog_ratio": pytest.approx(80.0),
        "backlog_memory": 52.0,
        "backlog_growth": 1.0,
    }


def test_a_look_that_came_late_shows_no_growth(tmp_path: Path) -> None:
    with Stage(tmp_path, rates=[80.0, 100.0], more=60) as stage:
        values = measure(stage)
    assert values["backlog_ratio"] == pytest.approx(80.0)
    assert "backlog_growth" not in values


def test_a_queue_is_filled_in_requests_that_end_in_time(tmp_path: Path) -> None:
    with Stage(tmp_path, rates=[80.0, 100.0]) as stage:
        measure(stage)
    first, *others = stage.asked
    assert first == {"do": "bulk", "first": 0, "count": 300, "batch": 50}
    sent = [(asked["slot"], asked["count"], asked["countdown"]) for asked in others]
    waiting = [(300, count, 0.0) for count in (50_000, 50_000, 19_700)]
    assert sent == [*waiting, (301, 30, 86_400.0)]
    assert set(PLAN.warm_up).isdisjoint(range(302)), "no slot has two meanings"


def test_a_delayed_task_that_runs_fails_the_trial(tmp_path: Path) -> None:
    with Stage(tmp_path, rates=[80.0, 100.0]) as stage:
        stage.leave([1.0], slot=PLAN.delayed_slot)
        with pytest.raises(TrialError, match=r"a task has run 86400.0 s too early"):
            measure(stage)


class Bulk(BulkAdapter):
    """Notes what it is to send."""

    def __init__(self) -> None:
        self.sent: list[tuple[list[int], float]] = []

    async def bulk(self, slots: Sequence[int]) -> None:
        self.sent.append((list(slots), 0.0))

    async def enqueue(self, slot: int) -> Any: ...

    async def enqueue_hold(self, slot: int, seconds: float) -> Any: ...

    async def wait(self, handle: Any, timeout: float) -> Any: ...

    async def ready(self, handle: Any) -> bool:
        return True


class Delaying(Bulk, DelayingAdapter):
    """Notes delayed tasks as well."""

    async def bulk_delayed(self, slots: Sequence[int], countdown: float) -> None:
        self.sent.append((list(slots), countdown))


@pytest.mark.parametrize("countdown", [0.0, 60.0])
async def test_tasks_that_fill_a_queue_share_a_slot(tmp_path: Path, countdown: float) -> None:
    adapter = Delaying()
    marks = Marks.create(tmp_path / "marks", 10)
    producer = Producer(adapter, marks, io.StringIO())
    await producer.fill(slot=7, count=5, batch=2, countdown=countdown)
    assert adapter.sent == [([7, 7], countdown), ([7, 7], countdown), ([7], countdown)]
    marks.close()


async def test_a_library_without_delayed_tasks_is_named(tmp_path: Path) -> None:
    marks = Marks.create(tmp_path / "marks", 10)
    producer = Producer(Bulk(), marks, io.StringIO())
    with pytest.raises(TypeError, match=r"test_backlog has no call for many delayed tasks"):
        await producer.fill(slot=7, count=5, batch=2, countdown=60.0)
    marks.close()
