"""An event loop in a real thread, for coroutines of a process whose threads are green."""

from __future__ import annotations

import contextvars
import os
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from taskq.worker.pool.coroutines import Interruptible

if TYPE_CHECKING:
    import asyncio


class LoopThread:
    """Runs coroutines for green threads, as many at a time as there are.

    Green threads share one real thread, and in that only one event loop can run.

    Args:
        start: starts a real thread.
        wait_for: waits until a descriptor can be read, and lets other green threads run.
    """

    def __init__(
        self, start: Callable[[Callable[[], None]], None], wait_for: Callable[[int], None]
    ) -> None:
        self._start = start
        self._wait_for = wait_for
        self._loop: asyncio.AbstractEventLoop | None = None
        self._lock = threading.Lock()  # a green one, like all of threading

    def run(self, coroutine: Interruptible) -> Any:
        """Run a coroutine to its end, in the context of the caller, and return what it returns."""
        with self._lock:
            loop = self._loop or self._start_loop()
        context = contextvars.copy_context()
        ended = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        tasks: list[asyncio.Task[Any]] = []

        def begin() -> None:
            task = loop.create_task(coroutine, context=context)
            tasks.append(task)
            task.add_done_callback(lambda _: os.eventfd_write(ended, 1))

        loop.call_soon_threadsafe(begin)
        try:
            self._wait_for(ended)
        finally:
            os.close(ended)
        return tasks[0].result()

    def _start_loop(self) -> asyncio.AbstractEventLoop:
        # Most tasks are plain functions: only who runs a coroutine pays for asyncio.
        import asyncio

        started = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)

        def serve() -> None:
            loop = asyncio.new_event_loop()
            asyncio.set_event_loop(loop)
            self._loop = loop
            loop.call_soon(os.eventfd_write, started, 1)
            loop.run_forever()

        self._start(serve)
        self._wait_for(started)
        os.close(started)
        assert self._loop is not None
        return self._loop
