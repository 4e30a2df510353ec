"""Pauses, as the worker sees them: the broker hands nothing out, and the worker hands back."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection
from typing import TYPE_CHECKING

from taskq.exceptions import OperationalError

if TYPE_CHECKING:
    from taskq.brokers.base import Broker
    from taskq.worker.dispatcher import Dispatcher

logger = logging.getLogger("taskq.worker")

POLL = 5.0
"""Seconds after which the worker looks for paused queues without having been told."""


class Pauses:
    """Knows which of the worker's queues are paused.

    Args:
        broker: keeps them from handing out anything.
        dispatcher: gives back what has not been started.
        queues: the names of the queues that the worker consumes now.
    """

    def __init__(
        self, broker: Broker, dispatcher: Dispatcher, queues: Callable[[], Collection[str]]
    ) -> None:
        self._broker = broker
        self._dispatcher = dispatcher
        self._queues = queues
        self._told = asyncio.Event()
        self.names: set[str] = set()

    def look_soon(self) -> None:
        """There may be news."""
        self._told.set()

    async def watch(self) -> None:
        """Look now and then, and say what has changed, until cancelled."""
        while True:
            self._told.clear()
            try:
                paused = await asyncio.to_thread(self._broker.paused)
            except OperationalError as exc:  # fetching fails as well, and tells
                logger.debug("cannot learn which queues are paused: %s", exc)
            else:
                self._note(set(paused) & set(self._queues()))
            timer = asyncio.get_running_loop().call_later(POLL, self._told.set)
            try:
                await self._told.wait()
            finally:
                timer.cancel()

    def _note(self, paused: set[str]) -> None:
        for name in sorted(paused - self.names):
            logger.warning("queue %s is paused: nothing of it is started until it is resumed", name)
        for name in sorted(self.names - paused):
            logger.warning("queue %s is resumed", name)
        self.names = paused
        if paused:
            self._dispatcher.give_back(paused)
