"""taskq with a worker of its own, on whichever broker its URL names."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from benchmarks.adapters.base import DelayingAdapter, Setup
from benchmarks.marks import Marks
from taskq import TaskQ

setup = Setup.from_environ()
marks = Marks(setup.marks)
app = TaskQ(
    "bench",
    broker=setup.broker,
    task_default_queue=setup.queue,
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


class Peer(DelayingAdapter):
    """Blocking producer."""

    async def enqueue(self, slot: int) -> Any:
        return mark.delay(slot)

    async def enqueue_hold(self, slot: int, seconds: float) -> Any:
        return hold.delay(slot, seconds)

    async def bulk(self, slots: Sequence[int]) -> None:
        app.send_many([mark.s(slot) for slot in slots])

    async def bulk_delayed(self, slots: Sequence[int], countdown: float) -> None:
        app.send_many([mark.s(slot) for slot in slots], countdown=countdown)

    async def wait(self, handle: Any, timeout: float) -> Any:
        return handle.get(timeout=timeout)

    async def ready(self, handle: Any) -> bool:
        return bool(handle.ready())
