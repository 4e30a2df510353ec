"""Streams: what every worker must know, those included that start later.

A stream (RabbitMQ 3.9 and later, https://www.rabbitmq.com/docs/streams) is read without being
emptied.  Whoever wants to know reads it from the beginning, and goes on as more comes.  Where
the beginning ends is told by a mark that the reader publishes itself.  A stream keeps no lists
among its headers, so that everything stands in the body.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from taskq.exceptions import ImproperlyConfigured, OperationalError
from taskq.message import new_id
from taskq.stores.amqp.links import ChannelError, DeclareQueue, Inbox, Link
from taskq.stores.amqp.parcels import Parcel

if TYPE_CHECKING:
    from taskq.brokers.amqp.broker import AmqpBroker

logger = logging.getLogger("taskq.worker")

_ARGUMENTS: Mapping[str, Any] = {
    "x-queue-type": "stream",
    "x-max-length-bytes": 20_000_000,
    "x-stream-max-segment-size-bytes": 1_000_000,
}
_FROM_THE_START = {"x-stream-offset": "first"}
_PREFETCH = 100
_MARK = "mark"
_TRIES = 3
_PAUSE = 1.0
"""Seconds before a reader that was cut off connects again."""


def has_stream(broker: AmqpBroker, link: Link, stream: str) -> bool:
    """Declare a stream; False if this RabbitMQ has none."""
    step = DeclareQueue(stream, arguments=_ARGUMENTS)
    try:
        broker.once(stream, lambda: broker.run(link, step))
    except (OperationalError, ChannelError):
        if not link.alive:
            raise
        return False
    return True


def write(broker: AmqpBroker, stream: str, body: bytes) -> None:
    """Let everybody know, now and later.

    Raises:
        ImproperlyConfigured: this RabbitMQ has no streams.
        OperationalError: it cannot be reached.
    """
    with broker.link() as link:
        if not has_stream(broker, link, stream):
            raise ImproperlyConfigured(
                "revoking tasks and pausing queues need a stream, which RabbitMQ has since 3.9; "
                "this one refuses it"
            )
        link.publish([Parcel(body, {}, routing_key=stream)])


class StreamReader:
    """Reads streams from the beginning, and goes on.

    Args:
        broker: whose streams.
        notes: what is called with each body, by the stream's name.
    """

    def __init__(self, broker: AmqpBroker, notes: Mapping[str, Callable[[bytes], None]]) -> None:
        self._broker = broker
        self._notes = notes
        self._inbox: Inbox | None = None
        self._behind: dict[str, str] = {}
        """The mark up to which each stream must be read yet."""
        self._following: asyncio.Task[None] | None = None
        self._starting = asyncio.Lock()

    async def start(self) -> None:
        """Read all that is there, and go on reading; again is no matter.

        Raises:
            OperationalError: the broker cannot be reached.
        """
        async with self._starting:
            if self._following is None:
                # Several that declare a stream at the same moment disturb each other.
                for _ in range(_TRIES - 1):
                    try:
                        await self.catch_up()
                        break
                    except OperationalError:
                        await asyncio.sleep(_PAUSE / 4)
                else:
                    await self.catch_up()
                self._following = asyncio.create_task(self._follow())

    @property
    def is_current(self) -> bool:
        """Has all been read, and comes at once what is written now?"""
        return self._inbox is not None and self._inbox.lost is None

    @property
    def was_started(self) -> bool:
        """Has it ever read all?"""
        return self._following is not None

    async def catch_up(self) -> None:
        """Connect, and read all that is there.

        Raises:
            OperationalError: the broker cannot be reached.
        """
        inbox = self._broker.inbox()
        try:
            await inbox.open()
            self._behind = await asyncio.to_thread(self._mark)
            for stream in self._behind:
                await inbox.consume(stream, 0, _PREFETCH, _FROM_THE_START)
            while self._behind:
                await self._read(inbox)
        except ChannelError as exc:
            await inbox.close()
            raise OperationalError(f"a stream cannot be read: {exc.text}") from exc
        except BaseException:
            await inbox.close()
            raise
        self._inbox = inbox

    def _mark(self) -> dict[str, str]:
        """Mark how far the streams go at the moment; those that are not there have no mark."""
        broker = self._broker
        with broker.link() as link:
            marks = {s: new_id() for s in self._notes if has_stream(broker, link, s)}
            parcels = [Parcel(b"", {_MARK: m}, routing_key=s) for s, m in marks.items()]
            # A mark is a question, and nothing is lost with it: a worker that is to stop must
            # not wait for as long as whoever publishes a task would.
            link.publish(parcels, broker.address.answer_timeout)
        return marks

    async def _read(self, inbox: Inbox) -> None:
        """Wait for more, and take it in."""
        await inbox.news.wait()
        inbox.news.clear()
        arrivals = inbox.take()
        for arrival in arrivals:
            mark = arrival.parcel.headers.get(_MARK)
            if mark is None:
                self._notes[arrival.queue](arrival.parcel.body)
            elif mark == self._behind.get(arrival.queue):
                del self._behind[arrival.queue]
        if arrivals:
            inbox.ack(arrivals[-1].tag)
        if inbox.lost is not None:
            raise OperationalError(f"the connection to RabbitMQ was lost: {inbox.lost}")

    async def _follow(self) -> None:
        while True:
            try:
                while self._inbox is not None:
                    await self._read(self._inbox)
                await self.catch_up()
            except OperationalError as exc:
                # Consuming has been cut off as well, and says so at a louder level.
                logger.debug("cannot read what is revoked and paused: %s", exc)
                inbox, self._inbox = self._inbox, None
                if inbox is not None:
                    await inbox.close()
                await asyncio.sleep(_PAUSE)

    async def close(self) -> None:
        """Read no more."""
        following, self._following = self._following, None
        if following is not None:
            following.cancel()
            await asyncio.wait([following])
        inbox, self._inbox = self._inbox, None
        if inbox is not None:
            await inbox.close()
