"""The worker's side of kombu's transports: everything on one thread of its own."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from taskq.brokers.amqp.wire import (
    CRASHES,
    DELIVERIES,
    DUE,
    again,
    crashes,
    deliveries,
    to_message,
    waits,
)
from taskq.brokers.base import Consumer, Delivery, Fate, Settlement
from taskq.brokers.kombu.channels import Channel, again_to, delayed_queue
from taskq.exceptions import DecodeError
from taskq.message import pack
from taskq.routing import Broadcast, Queue
from taskq.stores.amqp.parcels import Arrival, Parcel

if TYPE_CHECKING:
    from taskq.brokers.kombu.broker import KombuBroker

FIRST_PAUSE, LAST_PAUSE = 0.01, 0.25
"""Seconds between looks into empty queues, at first and at last."""
DELAYED_PAUSE = 0.5
"""Seconds between looks at messages that are not due yet."""
_RESTORE_PAUSE = 10.0


class _Tag:
    """What a delivery is acknowledged by, on which channel."""

    __slots__ = ("arrival", "channel", "name")

    def __init__(self, channel: Channel, name: Any, arrival: Arrival) -> None:
        self.channel, self.name, self.arrival = channel, name, arrival


class KombuConsumer(Consumer):
    """Consumes queues of a transport of kombu's.

    Args:
        broker: whose queues.
        queues: what to consume.
    """

    def __init__(self, broker: KombuBroker, queues: Sequence[Queue]) -> None:
        self._broker = broker
        self._queues = list(queues)
        self._thread = ThreadPoolExecutor(1, "taskq-kombu")
        self._channel: Channel | None = None
        self._open: dict[int, _Tag] = {}
        self._fresh: list[Delivery] = []
        self._delays_at = self._restore_at = 0.0

    async def _call(self, function: Any, *args: Any) -> Any:
        """On the thread; what it has begun it ends, even if nobody waits any more."""
        running = asyncio.get_running_loop().run_in_executor(self._thread, function, *args)
        try:
            return await asyncio.shield(running)
        except asyncio.CancelledError:
            await asyncio.wait([running])
            raise

    def _connected(self) -> Channel:
        if self._channel is None or not self._channel.alive:
            self._open.clear()
            self._fresh.clear()
            self._channel = self._broker.place.connect()
        return self._channel

    async def receive(self, limit: int) -> list[Delivery]:
        pause = FIRST_PAUSE
        while True:
            await self._call(self._poll, limit)
            if found := self._fresh[:limit]:
                del self._fresh[: len(found)]
                return found
            await asyncio.sleep(pause)
            pause = min(2 * pause, LAST_PAUSE)

    def _poll(self, limit: int) -> None:
        channel, now = self._connected(), time.time()
        if now >= self._restore_at:
            self._restore_at = now + _RESTORE_PAUSE
            channel.restore()
        if now >= self._delays_at:
            self._delays_at = now + DELAYED_PAUSE
            for queue in self._queues:
                self._release(channel, queue.name)
        for queue in self._queues:
            while len(self._fresh) < limit and (got := channel.get(queue.name)) is not None:
                self._take(channel, queue.name, *got)

    def _release(self, channel: Channel, queue: str) -> None:
        """Let go what has become due; all that lies there is looked at, and none is kept here."""
        back: list[Any] = []
        name = delayed_queue(queue)
        for _ in range(channel.size(name)):
            if (got := channel.get(name)) is None:
                break
            tag, arrival = got
            if waits(arrival.parcel, time.time()):
                back.append(tag)
            else:
                channel.put(again_to(arrival.parcel, queue))
                channel.ack(tag)
        channel.give_back(back)

    def _take(self, channel: Channel, queue: str, tag: Any, arrival: Arrival) -> None:
        if waits(arrival.parcel, time.time()):  # Celery sends such messages to the queue itself
            channel.put(again_to(arrival.parcel, delayed_queue(queue)))
            channel.ack(tag)
            return
        try:
            message = to_message(arrival.parcel)
        except DecodeError as exc:
            channel.put(self._broker.dead_parcel(arrival, queue, str(exc), False))
            channel.ack(tag)
            return
        mine = _Tag(channel, tag, arrival)
        self._open[id(mine)] = mine
        self._fresh.append(
            Delivery(message, pack(message), queue, mine, deliveries(arrival), crashes(arrival))
        )

    async def change_queues(self, queues: Sequence[Queue]) -> None:
        await self._call(self._change_queues, list(queues))

    def _change_queues(self, queues: list[Queue]) -> None:
        """On the thread, so between two looks into the queues."""
        names = {queue.name for queue in queues}
        back = [d for d in self._fresh if d.queue not in names]
        if back:
            self._fresh = [d for d in self._fresh if d.queue in names]
            self._connected().give_back([d.tag.name for d in back])
            for delivery in back:
                del self._open[id(delivery.tag)]
        self._forget([queue for queue in self._queues if queue.name not in names])
        self._queues = queues

    def _forget(self, queues: Sequence[Queue]) -> None:
        """Delete those that are this worker's own."""
        for queue in queues:
            if isinstance(queue, Broadcast):
                self._broker.forget(queue.name)

    # Settling

    async def settle(self, batch: Sequence[Settlement]) -> None:
        await self._call(self._settle, batch)

    def _settle(self, batch: Sequence[Settlement]) -> None:
        channel = self._connected()
        back: list[Any] = []
        for s in batch:
            tag = s.delivery.tag
            if not s.acknowledged and id(tag) not in self._open:
                continue  # settled, or lost with its channel: it comes again
            if s.acknowledged or s.fate is not Fate.REQUEUE:
                self._broker.publish(s.follow_ups)
            if s.acknowledged:
                continue
            if s.fate is Fate.REQUEUE and s.unused and not s.delay and not s.crashed:
                back.append(tag.name)
            else:
                if (copy := self._copy(s)) is not None:
                    channel.put(copy)
                channel.ack(tag.name)
            del self._open[id(tag)]
        channel.give_back(back)

    def _copy(self, s: Settlement) -> Parcel | None:
        delivery, arrival = s.delivery, s.delivery.tag.arrival
        if s.fate is Fate.DEAD:
            return self._broker.dead_parcel(arrival, delivery.queue, s.reason, s.crashed)
        if s.fate is Fate.DONE:
            return None
        marks = {
            DELIVERIES: delivery.deliveries - s.unused,
            CRASHES: delivery.crashes + s.crashed,
            DUE: repr(time.time() + s.delay) if s.delay else None,
        }
        queue = delayed_queue(delivery.queue) if s.delay else delivery.queue
        return again(arrival.parcel, queue, marks)

    async def extend(self, deliveries: Collection[Delivery]) -> list[Delivery]:
        return list(await self._call(self._extend, deliveries))

    def _extend(self, deliveries: Collection[Delivery]) -> list[Delivery]:
        channel = self._connected()
        ours = [d for d in deliveries if id(d.tag) in self._open]
        channel.touch([d.tag.name for d in ours])
        return [d for d in deliveries if id(d.tag) not in self._open]

    async def close(self) -> None:
        await self._call(self._close)
        self._thread.shutdown()

    def _close(self) -> None:
        channel, self._channel = self._channel, None
        if channel is not None and channel.alive:
            channel.give_back([tag.name for tag in self._open.values()])
            channel.close()
        self._open.clear()
        self._forget(self._queues)
