"""An event loop in a green thread, for coroutines of a process whose threads are green."""

from __future__ import annotations

import contextvars
import selectors
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from taskq.worker.pool.coroutines import Interruptible

if TYPE_CHECKING:
    import asyncio


class GreenLoop:
    """Runs coroutines for green threads, as many at a time as there are.

    Green threads share one real thread, and in that only one event loop can run: so it runs
    in a green thread of its own, for all of them.  In the same real thread, so that
    connections can be used by coroutines and by other tasks.

    Args:
        spawn: starts a green thread.
    """

    def __init__(self, spawn: Callable[[Callable[[], None]], None]) -> None:
        self._spawn = spawn
        self._loop: asyncio.AbstractEventLoop | None = None
        self._lock = threading.Lock()  # a green one, like all of threading

    def run(self, coroutine: Interruptible) -> Any:
        """Run a coroutine to its end, in the context of the caller, and return what it returns."""
        with self._lock:
            loop = self._loop = self._loop or self._start()
        context = contextvars.copy_context()
        ended = threading.Event()
        tasks: list[asyncio.Task[Any]] = []

        def begin() -> None:
            task = loop.create_task(coroutine, context=context)
            tasks.append(task)
            task.add_done_callback(lambda _: ended.set())

        loop.call_soon_threadsafe(begin)
        ended.wait()
        return tasks[0].result()

    def _start(self) -> asyncio.AbstractEventLoop:
        # Most tasks are plain functions: only who runs a coroutine pays for asyncio.
        import asyncio

        # DefaultSelector has been patched, and lets other green threads run.
        class Selector(selectors.DefaultSelector):
            """Waits, and hides meanwhile from the others that an event loop runs here."""

            def select(self, timeout: float | None = None) -> Any:
                asyncio._set_running_loop(None)
                try:
                    return super().select(timeout)
                finally:
                    asyncio._set_running_loop(loop)

        loop = asyncio.SelectorEventLoop(Selector())
        self._spawn(loop.run_forever)
        return loop
