"""Which queues the worker consumes, and changing that while it works."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from taskq.routing import Broadcast, Queue

if TYPE_CHECKING:
    from taskq.app import TaskQ
    from taskq.brokers.base import Consumer
    from taskq.worker.dispatcher import Dispatcher

logger = logging.getLogger("taskq.worker")


class Consuming:
    """The worker's queues.

    Args:
        app: whose router and broker.
        consumer: consumes them.
        queues: those that it begins with.
        unique: what the worker's own queues of a broadcast are named after.
        dispatcher: gives back what was taken from a queue that is left.
    """

    def __init__(
        self,
        app: TaskQ,
        consumer: Consumer,
        queues: Sequence[Queue],
        unique: str,
        dispatcher: Dispatcher,
    ) -> None:
        self._app = app
        self._consumer = consumer
        self._unique = unique
        self._dispatcher = dispatcher
        self._changing = asyncio.Lock()
        self.queues = list(queues)

    def names(self) -> list[str]:
        """The names of the queues."""
        return [queue.name for queue in self.queues]

    async def add(
        self,
        name: str,
        exchange: str | None = None,
        exchange_type: str | None = None,
        routing_key: str | None = None,
        options: Mapping[str, Any] | None = None,
    ) -> bool:
        """Consume one more queue; False if it is among them.

        Raises:
            QueueNotFound: it is not declared, and must be.
            TaskQError: it cannot be declared; nothing has changed.
        """
        async with self._changing:
            queue = self._queue(name, exchange, exchange_type, routing_key, options or {})
            if queue.name in self.names():
                return False
            await asyncio.to_thread(self._app.broker.declare, [queue])
            await self._consumer.change_queues([*self.queues, queue])
            self.queues.append(queue)
            logger.warning("consumes queue %s from now on", queue.name)
            return True

    def _queue(
        self,
        name: str,
        exchange: str | None,
        exchange_type: str | None,
        routing_key: str | None,
        options: Mapping[str, Any],
    ) -> Queue:
        if exchange or routing_key or options:
            binding = {
                "exchange": exchange or name,
                "exchange_type": exchange_type,
                "routing_key": routing_key or name,
            }
            queue = Queue.from_options(name, {**options, **binding})
        else:
            queue = self._app.router.queue(name)
        return queue.for_consumer(self._unique) if isinstance(queue, Broadcast) else queue

    async def cancel(self, name: str) -> bool:
        """Consume a queue no more; False if it is not among them.

        What runs goes on; what has not been started is given back.
        """
        async with self._changing:
            # Users call a worker's own queue of a broadcast what that is called.
            meant = {name, f"{name}.{self._unique}"}
            staying = [queue for queue in self.queues if queue.name not in meant]
            gone = [queue.name for queue in self.queues if queue.name in meant]
            if not gone:
                return False
            await self._consumer.change_queues(staying)
            self.queues = staying
            self._dispatcher.give_back(gone)
            logger.warning("does not consume queue %s any more", name)
            return True
