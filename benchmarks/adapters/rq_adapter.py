"""rq with `SimpleWorker`, which runs jobs in the worker itself instead of forking for each."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from redis import Redis
from rq import Queue

from benchmarks.adapters.base import BulkAdapter, Setup
from benchmarks.marks import Marks

setup = Setup.from_environ()
marks = Marks(setup.marks)
RESULT_TTL = 3600 if setup.keep_results else 0
"""Seconds that a result is kept; 0 drops the job when it ends."""


def mark(slot: int) -> int:
    """Does nothing but leave the clock."""
    return marks.put(slot)


def hold(slot: int, seconds: float) -> int:
    """Keeps a worker busy."""
    time.sleep(seconds)
    return marks.put(slot)


class Peer(BulkAdapter):
    """Blocking producer."""

    def __init__(self) -> None:
        self._queue = Queue(setup.queue, connection=Redis.from_url(setup.broker))

    async def enqueue(self, slot: int) -> Any:
        return self._queue.enqueue(mark, slot, result_ttl=RESULT_TTL)

    async def enqueue_hold(self, slot: int, seconds: float) -> Any:
        return self._queue.enqueue(hold, slot, seconds, result_ttl=RESULT_TTL)

    async def bulk(self, slots: Sequence[int]) -> None:
        self._queue.enqueue_many(
            [Queue.prepare_data(mark, (slot,), result_ttl=RESULT_TTL) for slot in slots]
        )

    async def wait(self, handle: Any, timeout: float) -> Any:
        return handle.latest_result(timeout=int(timeout)).return_value

    async def ready(self, handle: Any) -> bool:
        return handle.latest_result() is not None
