"""saq: asyncio tasks, a hundred at a time in each of two processes."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from saq import Queue

from benchmarks.adapters.base import Adapter, Setup
from benchmarks.marks import Marks

setup = Setup.from_environ()
marks = Marks(setup.marks)
TTL = 3600 if setup.keep_results else -1
"""Seconds that a job and its result are kept; -1 drops them when it ends."""


async def mark(ctx: object, *, slot: int) -> int:
    """Does nothing but leave the clock."""
    return marks.put(slot)


async def hold(ctx: object, *, slot: int, seconds: float) -> int:
    """Keeps one place of the worker busy, without blocking its loop."""
    await asyncio.sleep(seconds)
    return marks.put(slot)


def make_queue() -> Queue:
    """Returns the trial's queue, not yet connected."""
    return Queue.from_url(setup.broker, name=setup.queue)


settings = {"queue": make_queue(), "functions": [mark, hold], "concurrency": 100}
"""What the worker's command loads."""


class Peer(Adapter):
    """Producer on asyncio."""

    uses_asyncio = True

    def __init__(self) -> None:
        self._queue = make_queue()

    async def open(self) -> None:
        await self._queue.connect()

    async def enqueue(self, slot: int) -> Any:
        return await self._queue.enqueue("mark", slot=slot, ttl=TTL)

    async def enqueue_hold(self, slot: int, seconds: float) -> Any:
        return await self._queue.enqueue("hold", slot=slot, seconds=seconds, ttl=TTL)

    async def wait(self, handle: Any, timeout: float) -> Any:
        deadline = time.monotonic() + timeout
        while True:
            try:
                await handle.refresh(until_complete=0.005)
                return handle.result
            # saq looks first and subscribes then; the end of a job between the two is not
            # announced any more, so the look is repeated.
            except TimeoutError:
                if time.monotonic() > deadline:
                    raise

    async def ready(self, handle: Any) -> bool:
        await handle.refresh()
        return bool(handle.completed)
