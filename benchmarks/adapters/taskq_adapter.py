"""taskq with a worker of its own, on whichever broker its URL names."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from benchmarks.adapters.base import DelayingAdapter, Setup, WorkflowAdapter
from benchmarks.marks import Marks
from taskq import TaskQ, chain, chord, group

setup = Setup.from_environ()
marks = Marks(setup.marks)
app = TaskQ(
    "bench",
    broker=setup.broker,
    backend=setup.results or None,
    task_default_queue=setup.queue,
    task_queue_max_priority=0,  # queues without priorities, as the peers have them on RabbitMQ
    task_ignore_result=not setup.keep_results,
)


@app.task
def mark(slot: int) -> int:
    """Does nothing but leave the clock."""
    return marks.put(slot)


@app.task
def hold(slot: int, seconds: float) -> int:
    """Keeps a worker's child busy."""
    time.sleep(seconds)
    return marks.put(slot)


@app.task
def step(number: int) -> int:
    """One step of a workflow."""
    return number + 1


@app.task
def count_all(values: list[int]) -> int:
    """The body of a chord."""
    return len(values)


class Peer(WorkflowAdapter, DelayingAdapter):
    """Blocking producer."""

    async def enqueue(self, slot: int) -> Any:
        return mark.delay(slot)

    async def enqueue_hold(self, slot: int, seconds: float) -> Any:
        return hold.delay(slot, seconds)

    async def bulk(self, slots: Sequence[int]) -> None:
        app.send_many([mark.s(slot) for slot in slots])

    async def bulk_delayed(self, slots: Sequence[int], countdown: float) -> None:
        app.send_many([mark.s(slot) for slot in slots], countdown=countdown)

    async def workflow(self, kind: str, count: int) -> Any:
        if kind == "chain":
            return chain(step.s(0), *[step.s() for _ in range(count - 1)]).apply_async()
        members = [step.s(0) for _ in range(count)]
        many = group(members) if kind == "group" else chord(members, count_all.s())
        return many.apply_async()

    async def wait(self, handle: Any, timeout: float) -> Any:
        return handle.get(timeout=timeout)

    async def ready(self, handle: Any) -> bool:
        return bool(handle.ready())
