"""Revoked tasks: a stream, which keeps what was published for workers that start later.

A stream (RabbitMQ 3.9 and later, https://www.rabbitmq.com/docs/streams) is read without being
emptied.  Each worker reads it from the beginning, and goes on as more comes.  Where the
beginning ends is told by a mark that the worker publishes itself.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

import msgspec

from taskq.brokers.amqp import topology
from taskq.brokers.amqp.links import ChannelError, DeclareQueue, Inbox, Link
from taskq.brokers.amqp.wire import Parcel
from taskq.brokers.base import REVOKED_POLL
from taskq.exceptions import ImproperlyConfigured, OperationalError
from taskq.message import new_id

if TYPE_CHECKING:
    from taskq.brokers.amqp.broker import AmqpBroker

logger = logging.getLogger("taskq.worker")

_ARGUMENTS = {
    "x-queue-type": "stream",
    "x-max-age": "30D",
    "x-max-length-bytes": 20_000_000,
    "x-stream-max-segment-size-bytes": 1_000_000,
}
_READING = {"x-stream-offset": "first"}
_PREFETCH = 100


class _Notice(msgspec.Struct, omit_defaults=True):
    """What the stream holds, as JSON: a stream keeps no lists among the headers."""

    tasks: list[str] = []
    until: float = 0.0
    signal: str = ""
    mark: str = ""


def _parcel(notice: _Notice) -> Parcel:
    body = msgspec.json.encode(notice)
    return Parcel(body, {}, routing_key=topology.REVOKED, content_type="application/json")


def _declare(broker: AmqpBroker, link: Link) -> bool:
    """Have the stream; False if this RabbitMQ has no streams."""
    step = DeclareQueue(topology.REVOKED, arguments=_ARGUMENTS)
    try:
        broker.once(topology.REVOKED, lambda: broker.run(link, step))
    except (OperationalError, ChannelError):
        if not link.alive:
            raise
        return False
    return True


def publish_revocations(
    broker: AmqpBroker, link: Link, task_ids: Sequence[str], expires: float, signal: str
) -> None:
    """Tell all workers, and those that start later.

    Raises:
        ImproperlyConfigured: this RabbitMQ has no streams.
    """
    if not _declare(broker, link):
        raise ImproperlyConfigured(
            "revoking needs a stream, which RabbitMQ has since 3.9; this one refuses it"
        )
    notice = _Notice(list(task_ids), time.time() + expires, signal)
    link.publish([_parcel(notice)])


class RevocationReader:
    """Reads the stream for one worker.

    Args:
        broker: whose stream.
    """

    def __init__(self, broker: AmqpBroker) -> None:
        self._broker = broker
        self._inbox: Inbox | None = None
        self._known: dict[str, tuple[float, str]] = {}
        self._mark = ""
        self._behind = True

    async def news(self) -> dict[str, str]:
        """Wait until there is news; the first call answers when all of the stream is read.

        Raises:
            OperationalError: the broker cannot be reached.
        """
        # Imported by those who consume.
        import asyncio

        inbox = self._inbox or await self._begin()
        fresh = self._behind
        while not self._read(inbox) or self._behind:
            if inbox.lost is not None:
                self._inbox, self._behind = None, True
                await inbox.close()
                raise OperationalError(f"the connection to RabbitMQ was lost: {inbox.lost}")
            try:
                # The first time tasks may not run before the answer; later ones only expire.
                async with asyncio.timeout(None if fresh else REVOKED_POLL):
                    await inbox.news.wait()
            except TimeoutError:
                break
        return self._current()

    async def _begin(self) -> Inbox:
        import asyncio

        inbox = self._broker.inbox()
        await inbox.open()
        try:
            self._mark = new_id()
            if await asyncio.to_thread(self._prepare):
                await inbox.consume(topology.REVOKED, 0, _PREFETCH, _READING)
            else:
                self._behind = False  # without streams nothing can be revoked
        except ChannelError as exc:
            await inbox.close()
            raise OperationalError(f"the stream of revoked tasks cannot be read: {exc.text}") from (
                exc
            )
        except BaseException:
            await inbox.close()
            raise
        self._inbox = inbox
        return inbox

    def _prepare(self) -> bool:
        """Mark how far the stream goes at the moment."""
        with self._broker.link() as link:
            there = _declare(self._broker, link)
            if there:
                link.publish([_parcel(_Notice(mark=self._mark))])
            return there

    def _read(self, inbox: Inbox) -> bool:
        """Take in what has come; was there anything new?"""
        inbox.news.clear()
        arrivals, inbox.arrivals[:] = inbox.arrivals[:], []
        behind = self._behind
        news = [self._note(arrival.parcel) for arrival in arrivals]
        if arrivals:
            inbox.ack(arrivals[-1].tag, True)
        return any(news) or behind > self._behind

    def _note(self, parcel: Parcel) -> bool:
        try:
            notice = msgspec.json.decode(parcel.body, type=_Notice)
        except msgspec.DecodeError:
            logger.warning("the stream %s holds what is no notice", topology.REVOKED)
            return False
        for task_id in notice.tasks:
            until, signal = self._known.get(task_id, (0.0, ""))
            self._known[task_id] = max(until, notice.until), notice.signal or signal
        if notice.mark == self._mark:
            self._behind = False
        return bool(notice.tasks)

    def _current(self) -> dict[str, str]:
        """The signals of those that are revoked, by id."""
        now = time.time()
        self._known = {k: v for k, v in self._known.items() if v[0] > now}
        return {task_id: signal for task_id, (_, signal) in self._known.items()}

    async def close(self) -> None:
        """Let go of the connection."""
        inbox, self._inbox = self._inbox, None
        if inbox is not None:
            await inbox.close()
