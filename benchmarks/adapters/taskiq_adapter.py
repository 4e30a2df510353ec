"""taskiq on a Redis list: asyncio tasks in two processes."""

from __future__ import annotations

import asyncio
from typing import Any

from taskiq import AsyncBroker
from taskiq_redis import ListQueueBroker, RedisAsyncResultBackend

from benchmarks.adapters.base import Adapter, Setup
from benchmarks.marks import Marks

setup = Setup.from_environ()
marks = Marks(setup.marks)
# Without a read time-out of its own, redis-py ends the idle worker's blocking pop.
broker: AsyncBroker = ListQueueBroker(setup.broker, queue_name=setup.queue, socket_timeout=None)
if setup.keep_results:
    broker = broker.with_result_backend(RedisAsyncResultBackend(setup.results, result_ex_time=3600))


@broker.task
async def mark(slot: int) -> int:
    """Does nothing but leave the clock."""
    return marks.put(slot)


@broker.task
async def hold(slot: int, seconds: float) -> int:
    """Keeps one place of the worker busy, without blocking its loop."""
    await asyncio.sleep(seconds)
    return marks.put(slot)


class Peer(Adapter):
    """Producer on asyncio."""

    uses_asyncio = True

    async def open(self) -> None:
        await broker.startup()

    async def enqueue(self, slot: int) -> Any:
        return await mark.kiq(slot)

    async def enqueue_hold(self, slot: int, seconds: float) -> Any:
        return await hold.kiq(slot, seconds)

    async def wait(self, handle: Any, timeout: float) -> Any:
        result = await handle.wait_result(check_interval=0.0005, timeout=timeout)
        return result.return_value

    async def ready(self, handle: Any) -> bool:
        return bool(await handle.is_ready())
