"""What the programs of this folder share: where RabbitMQ is, and workers that run in a program.

A real worker is a process of its own (`taskq -A tasks worker`); here it is a thread, so that each
program shows both sides and ends by itself.
"""

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from taskq import TaskQ

URL = os.environ.get("TASKQ_BROKER_URL", "amqp://guest:guest@localhost:5672//")


@contextmanager
def worker(app: TaskQ, name: str = "worker", **options: Any) -> Iterator[None]:
    """A worker that is ready; it stops at the end of the block."""
    # The pool `solo` runs one task at a time, in the worker's own process.
    running = app.Worker(pool="solo", hostname=name, **options)
    thread = threading.Thread(target=running.run, name=name)
    thread.start()
    try:
        if not running.wait_ready(timeout=30):
            raise TimeoutError(f"{name} is not ready after 30 s: is RabbitMQ at {URL}?")
        yield
    finally:
        running.stop()
        thread.join()


def wait_until(condition: Callable[[], bool], seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"nothing happened within {seconds:g} s")
        time.sleep(0.02)
