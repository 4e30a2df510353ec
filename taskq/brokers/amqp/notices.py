"""Notices on AMQP: an exchange for each channel, a queue for each subscription."""

from __future__ import annotations

import asyncio
import math
import threading
from collections.abc import Coroutine, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from taskq.brokers.notices import MAX_UNREAD, AsyncSubscription, Channel, Notice, Subscription
from taskq.exceptions import OperationalError
from taskq.message import new_id
from taskq.stores.amqp.links import Bind, ChannelError, DeclareExchange, DeclareQueue, Inbox, Link
from taskq.stores.amqp.parcels import Parcel

if TYPE_CHECKING:
    from taskq.brokers.amqp.broker import AmqpBroker

T = TypeVar("T")

_LIFE = 60.0
"""Seconds that the queue of a subscription outlives a lost connection."""
_PREFETCH = 1000


def tell(broker: AmqpBroker, link: Link, notices: Sequence[Notice]) -> None:
    """Publish notices; that nobody listens is no error."""
    for channel in {notice.channel for notice in notices}:
        broker.once(f"channel {channel.name}", partial(_declare, broker, link, channel))
    link.publish([_parcel(notice) for notice in notices])


def _declare(broker: AmqpBroker, link: Link, channel: Channel) -> None:
    broker.run(link, DeclareExchange(channel.name, channel.kind, durable=channel.durable))


def _parcel(notice: Notice) -> Parcel:
    expires = notice.expires
    return Parcel(
        notice.body,
        notice.headers,
        notice.channel.name,
        notice.key,
        notice.content_type,
        "utf-8",
        message_id=new_id(),
        delivery_mode=1,
        expiration=str(math.ceil(expires * 1000)) if expires is not None else None,
    )


class AmqpSubscription(AsyncSubscription):
    """A listener on an event loop.

    Args:
        broker: whose channels.
        channel: what is listened to.
        keys: which of it.
        name: of the queue.
    """

    def __init__(
        self, broker: AmqpBroker, channel: Channel, keys: Sequence[str], name: str
    ) -> None:
        self._broker = broker
        self._channel = channel
        self._keys = [""] if channel.kind == "fanout" else list(keys)
        self._name = name or f"{channel.name}.{new_id()}"
        self._inbox: Inbox | None = None

    async def open(self) -> None:
        """Begin to listen.

        Raises:
            OperationalError: the broker cannot be reached.
        """
        inbox = self._broker.inbox()
        try:
            await inbox.open()
            await asyncio.to_thread(self._declare)
            await inbox.consume(self._name, 0, _PREFETCH, {})
        except ChannelError as exc:
            await inbox.close()
            raise OperationalError(f"cannot listen to {self._channel.name}: {exc.text}") from exc
        except BaseException:
            await inbox.close()
            raise
        self._inbox = inbox

    def _declare(self) -> None:
        channel = self._channel
        life = _LIFE if channel.expires is None else channel.expires
        arguments = {"x-expires": max(1, math.ceil(life * 1000)), "x-max-length": MAX_UNREAD}
        if channel.ttl is not None:
            arguments["x-message-ttl"] = math.ceil(channel.ttl * 1000)
        with self._broker.link() as link:
            _declare(self._broker, link, channel)
            self._broker.run(link, DeclareQueue(self._name, False, False, True, arguments))
            for key in self._keys:
                self._broker.run(link, Bind(self._name, channel.name, key))

    async def receive(self) -> list[Notice]:
        if self._inbox is None:
            await self.open()
        inbox = self._inbox
        assert inbox is not None
        while not inbox.arrivals:
            if inbox.lost is not None:
                self._inbox = None
                await inbox.close()
                raise OperationalError(f"the connection to RabbitMQ was lost: {inbox.lost}")
            if self._name in inbox.cancelled:
                await self.close()
                raise OperationalError(f"the queue {self._name} was deleted")
            await inbox.news.wait()
            inbox.news.clear()
        arrivals = inbox.take()
        inbox.ack(arrivals[-1].tag)
        return [self._notice(arrival.parcel) for arrival in arrivals]

    def _notice(self, parcel: Parcel) -> Notice:
        return Notice(
            self._channel,
            parcel.routing_key,
            parcel.body,
            parcel.headers,
            parcel.content_type or "application/json",
            int(parcel.expiration) / 1000 if parcel.expiration else None,
        )

    async def close(self) -> None:
        inbox, self._inbox = self._inbox, None
        if inbox is not None:
            await inbox.close()


class BlockingSubscription(Subscription):
    """A listener for blocking code: a subscription on an event loop in a thread of its own.

    Args:
        subscription: not open yet.
    """

    def __init__(self, subscription: AmqpSubscription) -> None:
        self._subscription = subscription
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(
            target=self._loop.run_forever, name="taskq-subscription", daemon=True
        )
        self._closed = False
        self._thread.start()
        try:
            self._run(subscription.open())
        except BaseException:
            self._stop()
            raise

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    def receive(self, timeout: float | None = None) -> list[Notice]:
        return self._run(self._receive(timeout))

    async def _receive(self, timeout: float | None) -> list[Notice]:
        try:
            async with asyncio.timeout(timeout):
                return await self._subscription.receive()
        except TimeoutError:
            return []

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            try:
                self._run(self._subscription.close())
            finally:
                self._stop()

    def _stop(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
