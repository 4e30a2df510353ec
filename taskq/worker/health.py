"""How a worker does: for probes, and for whoever asks it in the same process."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from taskq.exceptions import TaskQError
from taskq.health import Health, HealthServer
from taskq.services import Service

if TYPE_CHECKING:
    from taskq.worker.dispatcher import Dispatcher
    from taskq.worker.service import Worker

TICK = 1.0
"""Seconds between two signs of life of the event loop."""
STUCK = 30.0
"""Seconds without one, after which the worker is not alive."""
PING = 5.0
"""Seconds between two looks at the broker."""
AGAIN = 2.0
"""Seconds after which fetching that has failed has been tried again."""
SILENCE = 15.0
"""Seconds without an answer from the broker, after which the worker is not ready."""


class WorkerHealth(Service):
    """Answers probes, and sees whether the broker answers.

    Args:
        address: where to listen, as for `HealthServer`.

    Attributes:
        dispatcher: knows what is in flight, once the worker has one.
    """

    name = "health"

    def __init__(self, address: str) -> None:
        self._server = HealthServer(address, self.look)
        self._tasks: list[asyncio.Task[None]] = []
        self._ticked = self._seen = time.monotonic()
        self._ready = self._stopping = False
        self.dispatcher: Dispatcher | None = None

    async def start(self, worker: Worker) -> None:
        """Listen, and begin to look at the broker."""
        self._worker = worker
        self._server.open()
        # Not as `run`, which ends before the worker does: a long shutdown is no lack of life.
        self._tasks = [asyncio.create_task(self._tick()), asyncio.create_task(self._ping())]

    async def stop(self) -> None:
        """Listen no more."""
        for task in self._tasks:
            task.cancel()
        self._server.close()

    def works(self, dispatcher: Dispatcher) -> None:
        """The worker consumes from now on."""
        self.dispatcher, self._ready = dispatcher, True

    def stops(self) -> None:
        """The worker takes nothing more."""
        self._stopping = True

    async def _tick(self) -> None:
        while True:
            self._ticked = time.monotonic()
            await asyncio.sleep(TICK)

    async def _ping(self) -> None:
        broker = self._worker.app.broker
        while True:
            try:
                await asyncio.to_thread(broker.ping)
                self._seen = time.monotonic()
            except TaskQError:
                pass  # its silence is what counts
            await asyncio.sleep(PING)

    def _fails(self, failed_at: float) -> bool:
        """Has fetching failed, and is not known to go on?

        A worker that has nothing to do waits for the next message for as long as it takes; so it
        goes on if the broker has answered since then, and after fetching was tried again.
        """
        return bool(failed_at) and self._seen < failed_at + AGAIN

    def look(self) -> Health:
        """How the worker does now; can be called from any thread."""
        now = time.monotonic()
        stuck, silent = now - self._ticked, now - self._seen
        live, reason = stuck < STUCK, ""
        if not live:
            reason = f"the event loop has stood still for {stuck:.0f} s"
        elif self._stopping:
            reason = "the worker is shutting down"
        elif not self._ready:
            reason = "the worker is starting"
        elif self.dispatcher is not None and self._fails(self.dispatcher.failed_at):
            reason = "the worker cannot consume"
        elif silent > SILENCE:
            reason = f"the broker has not answered for {silent:.0f} s"
        details = {"worker": self._worker.hostname, "broker_seen": round(silent, 1)}
        if self.dispatcher is not None:
            details |= {"running": self.dispatcher.running, "waiting": self.dispatcher.waiting}
        return Health(live, not reason, reason, details)
