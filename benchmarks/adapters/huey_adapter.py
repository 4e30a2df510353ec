"""huey, on SQLite or Redis by the broker's URL.

Its waits are polls: the interval is set to a millisecond, or to a blocking pop where the
storage has one (Redis).
"""

from __future__ import annotations

import time
from typing import Any

from huey import RedisHuey, SqliteHuey

from benchmarks.adapters.base import Adapter, Setup
from benchmarks.marks import Marks

setup = Setup.from_environ()
marks = Marks(setup.marks)
if setup.broker.startswith("sqlite:///"):
    # As it comes, huey has SQLite flush to disk at each commit; `fsync=False` never flushes.
    # taskq's broker flushes at checkpoints, between the two. All survive the death of a process.
    path, _, option = setup.broker.removeprefix("sqlite:///").partition("?")
    huey = SqliteHuey(
        setup.queue,
        filename=path,
        results=setup.keep_results,
        fsync=False if option == "fsync=off" else None,
    )
else:
    huey = RedisHuey(
        setup.queue, url=setup.broker, results=setup.keep_results, notify_result=setup.keep_results
    )


@huey.task()
def mark(slot: int) -> int:
    """Does nothing but leave the clock."""
    return marks.put(slot)


@huey.task()
def hold(slot: int, seconds: float) -> int:
    """Keeps a worker process busy."""
    time.sleep(seconds)
    return marks.put(slot)


class Peer(Adapter):
    """Blocking producer."""

    async def enqueue(self, slot: int) -> Any:
        return mark(slot)

    async def enqueue_hold(self, slot: int, seconds: float) -> Any:
        return hold(slot, seconds)

    async def wait(self, handle: Any, timeout: float) -> Any:
        return handle.get(blocking=True, timeout=timeout, max_delay=0.001)

    async def ready(self, handle: Any) -> bool:
        # A plain look; `is_ready` takes the result out of the storage, which is a write.
        return handle.get(preserve=True) is not None
