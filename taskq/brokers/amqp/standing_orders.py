"""Which tasks are revoked and which queues are paused: read from streams, and written to them."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import msgspec

from taskq.brokers.amqp import topology
from taskq.brokers.amqp.streams import StreamReader, write
from taskq.brokers.base import REVOKED_POLL

if TYPE_CHECKING:
    from taskq.brokers.amqp.broker import AmqpBroker

logger = logging.getLogger("taskq.worker")


class _Revoked(msgspec.Struct):
    tasks: list[str]
    until: float
    signal: str


class _Paused(msgspec.Struct):
    queue: str
    paused: bool


def write_revoked(broker: AmqpBroker, task_ids: Sequence[str], expires: float, signal: str) -> None:
    """Let no worker run these tasks for so many seconds."""
    if task_ids:
        order = _Revoked(list(task_ids), time.time() + expires, signal)
        write(broker, topology.REVOKED, msgspec.json.encode(order))


def write_paused(broker: AmqpBroker, queue: str, paused: bool) -> None:
    """Let no worker take anything from a queue, or let them again."""
    write(broker, topology.PAUSED, msgspec.json.encode(_Paused(queue, paused)))


def _note_paused(body: bytes, paused: set[str]) -> None:
    """Keep the names of paused queues up to date."""
    try:
        order = msgspec.json.decode(body, type=_Paused)
    except msgspec.DecodeError:
        logger.warning("the stream %s holds what is no order", topology.PAUSED)
        return
    if order.paused:
        paused.add(order.queue)
    else:
        paused.discard(order.queue)


async def read_paused(broker: AmqpBroker) -> set[str]:
    """The names of the queues that are paused.

    Raises:
        OperationalError: the broker cannot be reached.
    """
    paused: set[str] = set()
    reader = StreamReader(broker, {topology.PAUSED: lambda body: _note_paused(body, paused)})
    await reader.catch_up()
    await reader.close()
    return paused


class StandingOrders:
    """What one reader of the streams knows.

    Args:
        broker: whose streams.
        changed: called when queues were paused or resumed.

    Attributes:
        paused: the names of paused queues.
    """

    def __init__(self, broker: AmqpBroker, changed: Callable[[], None] = lambda: None) -> None:
        self.paused: set[str] = set()
        self._changed = changed
        self._known: dict[str, tuple[float, str]] = {}
        self._news = asyncio.Event()
        self._told = False
        self._reader = StreamReader(
            broker, {topology.REVOKED: self._note_revoked, topology.PAUSED: self._note_paused}
        )

    async def learn(self) -> None:
        """Know all that has been ordered before, and learn more from now on.

        Raises:
            OperationalError: the broker cannot be reached.
        """
        await self._reader.start()

    @property
    def is_current(self) -> bool:
        """Is all known, and comes at once what is ordered now?"""
        return self._reader.is_current

    @property
    def has_learnt(self) -> bool:
        """Was all known at some time?"""
        return self._reader.was_started

    async def revocations(self) -> dict[str, str]:
        """The signals of revoked tasks by id; waits for news, but the first time.

        Raises:
            OperationalError: the broker cannot be reached.
        """
        await self._reader.start()
        if self._told:
            try:
                async with asyncio.timeout(REVOKED_POLL):
                    await self._news.wait()
            except TimeoutError:
                pass  # some may have expired
        self._told = True
        self._news.clear()
        now = time.time()
        self._known = {k: v for k, v in self._known.items() if v[0] > now}
        return {task_id: signal for task_id, (_, signal) in self._known.items()}

    def _note_revoked(self, body: bytes) -> None:
        try:
            order = msgspec.json.decode(body, type=_Revoked)
        except msgspec.DecodeError:
            logger.warning("the stream %s holds what is no order", topology.REVOKED)
            return
        for task_id in order.tasks:
            until, signal = self._known.get(task_id, (0.0, ""))
            self._known[task_id] = max(until, order.until), order.signal or signal
        self._news.set()

    def _note_paused(self, body: bytes) -> None:
        _note_paused(body, self.paused)
        self._changed()

    async def close(self) -> None:
        """Learn no more."""
        await self._reader.close()
