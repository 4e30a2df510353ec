"""One task at a time, on the main thread: the executor of the prefork pool."""

from __future__ import annotations

import signal
from collections.abc import Callable
from types import CoroutineType, FrameType
from typing import TYPE_CHECKING, Any

from taskq.worker.pool.coroutines import Driver
from taskq.worker.pool.executors.base import Executor, interruption

if TYPE_CHECKING:
    from taskq.worker.pool.child import Child


class SerialExecutor(Executor):
    """Runs one task after the other."""

    single = True

    def __init__(self, child: Child) -> None:
        super().__init__(child)
        self._driver = Driver()
        self._running = False
        self._lane = child.lane(0, self._invoke)
        signal.signal(signal.SIGUSR1, self._on_limit)

    def run(self) -> None:
        child, lane = self.child, self._lane
        while (packet := child.receive()) is not None:
            how, items = packet
            lane.take(items)
            lane.serve(how == 1, items)

    def _invoke(self, function: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        self._running = True
        try:
            value = function(*args, **kwargs)
            if type(value) is CoroutineType:
                value = self._driver.run(value)
            return value
        finally:
            self._running = False

    def _on_limit(self, number: int, frame: FrameType | None) -> None:
        """The parent says that a task has run for too long; only if it still runs."""
        error = interruption(self._lane.slot)
        if error is not None and self._running:
            if not self._driver.running:
                raise error
            self._driver.interrupt(error())
