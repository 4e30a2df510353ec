"""Celery with the prefork pool, on Redis or RabbitMQ by the broker's URL."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from celery import Celery, group

from benchmarks.adapters.base import BulkAdapter, Setup
from benchmarks.marks import Marks

setup = Setup.from_environ()
marks = Marks(setup.marks)
app = Celery("bench", broker=setup.broker, backend=setup.results if setup.keep_results else None)
app.conf.update(
    task_default_queue=setup.queue,
    task_ignore_result=not setup.keep_results,
    worker_prefetch_multiplier=64,
    worker_enable_remote_control=False,
    broker_connection_retry_on_startup=True,
)


@app.task
def mark(slot: int) -> int:
    """Does nothing but leave the clock."""
    return marks.put(slot)


@app.task
def hold(slot: int, seconds: float) -> int:
    """Keeps a pool process busy."""
    time.sleep(seconds)
    return marks.put(slot)


class Peer(BulkAdapter):
    """Blocking producer."""

    async def enqueue(self, slot: int) -> Any:
        return mark.delay(slot)

    async def enqueue_hold(self, slot: int, seconds: float) -> Any:
        return hold.delay(slot, seconds)

    async def bulk(self, slots: Sequence[int]) -> None:
        group(mark.s(slot) for slot in slots).apply_async()

    async def wait(self, handle: Any, timeout: float) -> Any:
        return handle.get(timeout=timeout)

    async def ready(self, handle: Any) -> bool:
        return bool(handle.ready())
