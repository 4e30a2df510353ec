"""mayu in process mode, which is its own choice on a Python that has the global lock."""

from __future__ import annotations

import time
from typing import Any

from mayu import App

from benchmarks.adapters.base import Adapter, Setup
from benchmarks.marks import Marks

setup = Setup.from_environ()
marks = Marks(setup.marks)
app = App(setup.broker, default_queue=setup.queue, result_ttl=3600 if setup.keep_results else None)


@app.task
def mark(slot: int) -> int:
    """Does nothing but leave the clock."""
    return marks.put(slot)


@app.task
def hold(slot: int, seconds: float) -> int:
    """Keeps a worker process busy."""
    time.sleep(seconds)
    return marks.put(slot)


class Peer(Adapter):
    """Blocking producer."""

    async def enqueue(self, slot: int) -> Any:
        return mark.send(slot)

    async def enqueue_hold(self, slot: int, seconds: float) -> Any:
        return hold.send(slot, seconds)

    async def wait(self, handle: Any, timeout: float) -> Any:
        # It looks every 20 ms, and no setting changes that.
        return handle.result(timeout=timeout)

    async def ready(self, handle: Any) -> bool:
        # `result` waits 20 ms at least where there is none; this is the look that it is made of.
        return app.client.get_result(handle.id, 0) is not None
