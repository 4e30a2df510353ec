"""The worker's side of the AMQP broker: receive, settle, and be there when messages come again.

RabbitMQ leases a message to a channel: it is ours while the connection stands, and goes to
others when that is lost.  So there is nothing to extend, and what was lost shows by its channel.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Collection, Iterator, Sequence
from typing import TYPE_CHECKING

from taskq.brokers.amqp import topology
from taskq.brokers.amqp.arrivals import Arrivals, Tag
from taskq.brokers.amqp.open_tags import PATIENCE, OpenTags
from taskq.brokers.amqp.prefetch import Prefetch
from taskq.brokers.amqp.standing_orders import StandingOrders
from taskq.brokers.amqp.wire import (
    CRASHES,
    DELIVERIES,
    DUE,
    ONCE,
    again,
)
from taskq.brokers.base import Consumer, Delivery, Fate, Settlement
from taskq.exceptions import OperationalError
from taskq.message import TaskMessage, new_id
from taskq.routing import Broadcast, Queue
from taskq.stores.amqp.links import ChannelError, Inbox
from taskq.stores.amqp.parcels import Parcel

if TYPE_CHECKING:
    from taskq.brokers.amqp.broker import AmqpBroker

logger = logging.getLogger("taskq.worker")


class AmqpConsumer(Consumer):
    """Consumes queues of RabbitMQ.

    Args:
        broker: whose queues.
        queues: what to consume.
    """

    def __init__(self, broker: AmqpBroker, queues: Sequence[Queue]) -> None:
        self._broker = broker
        self._queues = list(queues)
        self._inbox: Inbox | None = None
        self._connecting = asyncio.Lock()
        self._channel = 0
        """Counts the channels: what came on an older one is not ours any more."""
        self._open = OpenTags()
        self._later: asyncio.TimerHandle | None = None
        """Looks at acknowledgements that wait."""
        self._here = Arrivals(broker.dead, lambda name: isinstance(broker.queue(name), Broadcast))
        self._source: dict[str, str] = {}
        """The queue that each queue of the broker's belongs to, as the worker knows it."""
        self._prefetch = Prefetch()
        self._receiving = 0
        self._orders = broker.orders = StandingOrders(broker, self._rouse)
        self._asking = asyncio.Lock()
        self._add_names()

    def _add_names(self) -> None:
        for queue in self._queues:
            for name in self._broker.names(queue.name):
                self._source[name] = queue.name
                self._prefetch.add(name)

    def _rouse(self) -> None:
        """Let `receive` look at what has changed."""
        if self._inbox is not None:
            self._inbox.news.set()

    # The connection

    async def _connect(self) -> Inbox:
        """The connection; a new one, if the last was lost.

        Raises:
            OperationalError: there is none.
        """
        async with self._connecting:
            inbox = self._inbox
            if inbox is None:
                return await self._open_inbox()
            if inbox.lost is None:
                return inbox
            self._forget()
            await inbox.close()
            raise OperationalError(f"the connection to RabbitMQ was lost: {inbox.lost}")

    async def _open_inbox(self) -> Inbox:
        inbox, broker = self._broker.inbox(), self._broker
        await self._orders.learn()  # what is paused must not be consumed
        try:
            await inbox.open()
            await asyncio.to_thread(broker.declare, self._queues)
            await self._declare_own(inbox)
        except ChannelError as exc:
            await inbox.close()
            raise OperationalError(f"RabbitMQ refuses a queue: {exc.text}") from exc
        except BaseException:
            await inbox.close()
            raise
        self._channel += 1
        self._inbox = inbox
        return inbox

    async def _declare_own(self, inbox: Inbox) -> None:
        """Declare what only the connection may that consumes it; again is no harm."""
        for queue in self._queues:
            if queue.exclusive:
                await inbox.run(topology.declaring(queue, self._broker.address))

    def _forget(self) -> None:
        """What came on a channel that is lost comes again."""
        self._inbox = None
        self._channel += 1
        self._open = OpenTags()
        self._here.clear()
        self._prefetch.clear()

    async def _ask_for(self, inbox: Inbox, limit: int) -> None:
        """Have so many more sent, shared by the queues."""
        async with self._asking:
            active = self._active()
            share = max(1, math.ceil(limit / max(1, len(active))))
            if self.is_fair and len(active) > 1:
                await self._limit(inbox, limit, active)
            for name in self._prefetch.names():
                if name not in active:
                    await self._leave(inbox, name)
                    continue
                queue = self._broker.queue(self._source[name])
                if name in inbox.cancelled:
                    logger.warning("queue %s is not there any more, and is declared again", name)
                    inbox.cancelled.discard(name)
                    self._prefetch.gone(name)
                    await asyncio.to_thread(self._broker.declare, [queue])
                await self._prefetch.ask_for(inbox, name, queue, share, self.is_fair)

    async def _limit(self, inbox: Inbox, limit: int, active: set[str]) -> None:
        """Share what is asked for among all queues; quorum queues have no such limit."""
        queues = [self._broker.queue(self._source[name]) for name in active]
        kinds = {topology.queue_type(queue, self._broker.address) for queue in queues}
        if kinds == {"classic"}:
            await self._prefetch.limit(inbox, limit)

    def _active(self) -> set[str]:
        """The queues to consume, as the broker knows them."""
        wanted = {queue.name for queue in self._queues} - self._orders.paused
        return {name for name, source in self._source.items() if source in wanted}

    async def _leave(self, inbox: Inbox, name: str) -> None:
        """Consume a queue no more, and give back what nobody has yet."""
        if not await self._prefetch.leave(inbox, name):
            return
        self._collect(inbox)
        ready, held = self._here.drop(name)
        self._prefetch.out[name] += len(ready)  # as if they had been taken: that is undone now
        self._give_back([*held, *ready])

    async def change_queues(self, queues: Sequence[Queue]) -> None:
        left = [queue for queue in self._queues if queue not in queues]
        self._queues = list(queues)
        self._add_names()
        inbox = self._inbox
        if inbox is not None and inbox.lost is None:
            try:
                await self._declare_own(inbox)
                await self._ask_for(inbox, 1)
            except ChannelError as exc:
                raise OperationalError(f"RabbitMQ refuses to be consumed: {exc.text}") from exc
        await self._delete(left)
        self._rouse()

    # Receiving

    async def begin(self) -> None:
        await self._connect()

    async def receive(self, limit: int) -> list[Delivery]:
        self._receiving += 1
        try:
            return await self._receive(limit)
        finally:
            self._receiving -= 1

    async def _receive(self, limit: int) -> list[Delivery]:
        while True:
            inbox = await self._connect()
            inbox.news.clear()  # first, so that whatever changes from here on is seen
            try:
                await self._ask_for(inbox, limit)
            except ChannelError as exc:
                raise OperationalError(f"RabbitMQ refuses to be consumed: {exc.text}") from exc
            self._collect(inbox)
            if self._here.moves:
                await self._move()
            if found := self._take(limit):
                return found
            if inbox.lost is None:
                await self._wait(inbox)

    def _collect(self, inbox: Inbox) -> None:
        """Take in what has come, and what has waited here for its time."""
        now = time.time()
        for arrival in inbox.take():
            self._open.add(arrival.tag)
            source = self._source[arrival.queue]
            if self._here.sort(arrival, source, self._channel, now):
                self._prefetch.out[arrival.queue] += 1
        for delivery in self._here.release(now):
            self._prefetch.out[delivery.tag.arrival.queue] -= 1

    async def _move(self) -> None:
        """Publish the copies of what goes somewhere else, and acknowledge it."""
        moves, channel = self._here.moves[:], self._channel
        await self._send([move.copy for move in moves], [move.due for move in moves])
        del self._here.moves[: len(moves)]
        self._acknowledge([Tag(channel, move.arrival) for move in moves], taken=False)

    def _take(self, limit: int) -> list[Delivery]:
        found = self._here.take(limit)
        for delivery in found:
            self._prefetch.out[delivery.tag.arrival.queue] += 1
        return found

    async def _wait(self, inbox: Inbox) -> None:
        """Until something comes, or what is held here is due."""
        due = self._here.next_due
        pause = max(0.0, due - time.time()) if due is not None else None
        try:
            async with asyncio.timeout(pause):
                await inbox.news.wait()
        except TimeoutError:
            pass

    # Settling

    async def settle(self, batch: Sequence[Settlement]) -> None:
        follow_ups: list[TaskMessage] = []
        copies: list[Parcel] = []
        due: list[float | None] = []
        done: list[Tag] = []
        back: list[Tag] = []
        for s in self._ours(batch):
            tag = s.delivery.tag
            if s.acknowledged:
                follow_ups += s.follow_ups
            elif s.fate is not Fate.REQUEUE:
                done.append(tag)
                follow_ups += s.follow_ups
                if s.fate is Fate.DEAD:
                    copies.append(self._dead(s))
                    due.append(None)
            elif s.unused and not s.delay and not s.crashed:
                back.append(tag)
            else:
                done.append(tag)
                copies.append(self._counted(s))
                due.append(time.time() + s.delay if s.delay else None)
        if follow_ups:
            await self._broker.apublish(follow_ups)
        if copies:
            await self._send(copies, due)
        self._acknowledge(done)
        if back:
            await self._stop_sending()
            self._give_back(back)

    async def _stop_sending(self) -> None:
        """Unless somebody waits for more: what is given back would come right back here."""
        inbox = self._inbox
        if self._receiving or inbox is None or inbox.lost is not None:
            return
        async with self._asking:
            for name in self._prefetch.names():
                await self._leave(inbox, name)

    def _ours(self, batch: Sequence[Settlement]) -> Iterator[Settlement]:
        """Those that count: acknowledged before, or the first to end what is ours still.

        What came on a channel that is lost comes again, here or elsewhere.
        """
        ended: set[int] = set()
        for s in batch:
            tag = s.delivery.tag
            if s.acknowledged:
                yield s
            elif self._is_open(tag) and tag.number not in ended:
                ended.add(tag.number)
                yield s

    def _is_open(self, tag: Tag) -> bool:
        return tag.channel == self._channel and tag.number in self._open

    def _counted(self, s: Settlement) -> Parcel:
        """The copy of a message that is given back, with its counters."""
        delivery = s.delivery
        marks = {
            DELIVERIES: delivery.deliveries - s.unused,
            CRASHES: delivery.crashes + s.crashed,
            DUE: repr(time.time() + s.delay) if s.delay else None,
        }
        copy = again(delivery.tag.arrival.parcel, delivery.queue, marks)
        if not s.unused:
            copy.message_id = new_id()  # this run is over: the next is another
            copy.headers.pop(ONCE, None)
        return copy

    def _dead(self, s: Settlement) -> Parcel:
        arrival = s.delivery.tag.arrival
        return self._broker.dead.parcel(arrival, s.delivery.queue, s.reason, s.crashed)

    async def _send(self, copies: Sequence[Parcel], due: Sequence[float | None]) -> None:
        """Publish; dead letters may need a queue first."""
        queues = {copy.routing_key for copy in copies if copy.exchange == topology.DEAD_EXCHANGE}
        for queue in queues:
            await asyncio.to_thread(self._broker.dead.prepare, queue)
        await self._broker.asend(copies, due)

    def _acknowledge(self, tags: Sequence[Tag], taken: bool = True) -> None:
        inbox = self._inbox
        ours = [tag for tag in tags if self._is_open(tag)]
        if not ours or inbox is None:
            return
        self._open.finish([tag.number for tag in ours])
        if taken:
            for tag in ours:
                self._prefetch.out[tag.arrival.queue] -= 1
        self._write_acks(inbox)

    def _write_acks(self, inbox: Inbox) -> None:
        """Acknowledge what need not wait, and look at the rest again a little later."""
        # The broker sends no more than the prefetch: what waits must be a small part of it.
        few = 0 if self.is_fair else self._prefetch.least // 4
        up_to, others = self._open.acknowledge(time.monotonic(), few)
        if up_to or others:
            inbox.ack(up_to, others)
        if self._open.waiting and self._later is None:
            loop = asyncio.get_running_loop()
            self._later = loop.call_later(PATIENCE, self._acknowledge_later)

    def _acknowledge_later(self) -> None:
        self._later = None
        if self._inbox is not None:
            self._write_acks(self._inbox)

    def _give_back(self, tags: Sequence[Tag]) -> None:
        inbox = self._inbox
        # The last one first: each goes back to the front of its queue.
        for tag in reversed(tags):
            if inbox is not None and tag.channel == self._channel and self._open.drop(tag.number):
                inbox.nack(tag.number)
                self._prefetch.out[tag.arrival.queue] -= 1

    async def extend(self, deliveries: Collection[Delivery]) -> list[Delivery]:
        lost = self._inbox is None or self._inbox.lost is not None
        return [d for d in deliveries if lost or d.tag.channel != self._channel]

    # Revoked tasks

    async def revocations(self) -> dict[str, str]:
        return await self._orders.revocations()

    # The end

    async def close(self) -> None:
        await self._orders.close()
        if self._broker.orders is self._orders:
            self._broker.orders = None
        inbox, self._inbox = self._inbox, None
        if self._later is not None:
            self._later.cancel()
        if inbox is not None:
            up_to, others = self._open.acknowledge(0.0, -1)
            if up_to or others:
                inbox.ack(up_to, others)
            await inbox.close()
        await self._delete(self._queues)

    async def _delete(self, queues: Sequence[Queue]) -> None:
        """Delete those that are this worker's own."""
        names = [queue.name for queue in queues if isinstance(queue, Broadcast)]
        if names:
            await asyncio.to_thread(self._delete_now, names)

    def _delete_now(self, names: Sequence[str]) -> None:
        with self._broker.link() as link:
            for name in names:
                link.delete(name)
