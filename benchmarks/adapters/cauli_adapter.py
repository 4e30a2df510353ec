"""cauli: asyncio tasks in two processes of its worker, which is written in Rust."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from cauli import Cauli

from benchmarks.adapters.base import BulkAdapter, Setup
from benchmarks.marks import Marks

setup = Setup.from_environ()
marks = Marks(setup.marks)
app = Cauli(redis_url=setup.broker, default_queue=setup.queue)


@app.task(store_result=setup.keep_results)
async def mark(slot: int) -> int:
    """Does nothing but leave the clock."""
    return marks.put(slot)


@app.task(store_result=setup.keep_results)
async def hold(slot: int, seconds: float) -> int:
    """Keeps one place of the worker busy, without blocking its loop."""
    await asyncio.sleep(seconds)
    return marks.put(slot)


class Peer(BulkAdapter):
    """Blocking producer."""

    async def enqueue(self, slot: int) -> Any:
        return mark.delay(slot)

    async def enqueue_hold(self, slot: int, seconds: float) -> Any:
        return hold.delay(slot, seconds)

    async def bulk(self, slots: Sequence[int]) -> None:
        app.enqueue_many([(mark, (slot,)) for slot in slots])

    async def wait(self, handle: Any, timeout: float) -> Any:
        import os

        return handle.get(timeout=timeout, poll_interval=float(os.environ.get("POLL", "0.0005")))

    async def ready(self, handle: Any) -> bool:
        return handle.status() != "pending"
