"""The tasks of ``taskq demo``; as a module with tasks usually looks."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from typing import Any

from taskq import Task, TaskQ

app = TaskQ("demo")


@app.task
def add(x: int, y: int) -> int:
    """Do next to nothing."""
    return x + y


@app.task(bind=True)
def count(self: Task[..., Any], steps: int, pause: float) -> int:
    """Take a while, and tell how far it is."""
    for step in range(1, steps + 1):
        time.sleep(pause)
        self.update_state(state="PROGRESS", meta={"step": step, "of": steps})
    return steps


@app.task(
    bind=True,
    autoretry_for=(ConnectionError,),
    max_retries=5,
    retry_backoff=0.5,  # seconds before the first retry, doubled at each one
    retry_jitter=False,
)
def unreliable(self: Task[..., Any], failures: int) -> int:
    """Fail some times, as a service on the network might."""
    if self.request.retries < failures:
        raise ConnectionError("the service is busy")
    return self.request.retries


@app.task(bind=True)
def deadly(self: Task[..., Any]) -> int:
    """Kill the process that runs it, the first time; as a fault in a C library might."""
    if self.request.deliveries == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    return self.request.deliveries


@app.task
async def wait_for_many(count: int, pause: float) -> int:
    """Wait for many things at once, on an event loop."""
    await asyncio.gather(*(asyncio.sleep(pause) for _ in range(count)))
    return count
