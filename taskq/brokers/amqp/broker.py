"""The producer's side of the AMQP broker, and what the commands ask of it."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING

from taskq.brokers.amqp import topology
from taskq.brokers.amqp.dead_letters import DeadLetters
from taskq.brokers.amqp.notices import AmqpSubscription, BlockingSubscription, tell
from taskq.brokers.amqp.publishing import Attempts, delayed, missing_exchange, publish
from taskq.brokers.amqp.standing_orders import (
    StandingOrders,
    read_paused,
    write_paused,
    write_revoked,
)
from taskq.brokers.amqp.wire import to_message, to_parcel
from taskq.brokers.base import Broker, Consumer, DeadLetter, QueueDepth
from taskq.brokers.notices import AsyncSubscription, Channel, Notice, Subscription
from taskq.exceptions import DecodeError, OperationalError, QueueNotFound
from taskq.message import TaskMessage
from taskq.routing import Queue
from taskq.stores.amqp.links import (
    NOT_FOUND,
    PRECONDITION_FAILED,
    Bind,
    ChannelError,
    DeclareExchange,
    DeclareQueue,
    Inbox,
    Link,
    Step,
)
from taskq.stores.amqp.parcels import Parcel
from taskq.stores.amqp.pool import Links

if TYPE_CHECKING:
    from taskq.backends.base import Backend
    from taskq.stores.amqp.address import Address


class AmqpBroker(Broker):
    """RabbitMQ, by one of the drivers.

    Args:
        address: where it is.
        make_link: makes a blocking connection.
        make_inbox: makes a connection that consumes.
    """

    leases_by_clock = False

    def __init__(
        self,
        address: Address,
        make_link: Callable[[Address], Link],
        make_inbox: Callable[[Address], Inbox],
    ) -> None:
        self.address = address
        self._links = Links(lambda: make_link(address), address.links)
        self._make_link = make_link
        self._make_inbox = make_inbox
        self._attempts = Attempts()
        self._queues: dict[str, Queue] = {}
        self._ready: set[str] = set()
        self._ready_pid = os.getpid()
        self._lock = threading.Lock()
        self.dead = DeadLetters(self)
        self.orders: StandingOrders | None = None
        """What a consumer of this process knows, and others here need not read again."""

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.address.shown}>"

    # Connections

    @contextmanager
    def link(self) -> Iterator[Link]:
        """A connection for the length of the block.

        Raises:
            OperationalError: it was lost, or there is none; what had been declared is declared
                again the next time.
        """
        try:
            with self._links.link() as link:
                yield link
        except OperationalError:
            self._ready.clear()
            raise

    @contextmanager
    def looking(self, queue: str) -> Iterator[Link]:
        """A connection to look into a queue: what is taken and not acknowledged goes back."""
        link = self._make_link(self.address)
        link.open()
        try:
            yield link
            link.give_back(queue)
        except ChannelError as exc:
            raise OperationalError(f"RabbitMQ refuses to show {queue}: {exc.text}") from exc
        finally:
            link.close()

    def inbox(self) -> Inbox:
        """A connection that consumes, not open yet."""
        return self._make_inbox(self.address)

    # Declaring

    def declare(self, queues: Iterable[Queue]) -> None:
        with self.link() as link:
            for queue in queues:
                self._declare(link, queue)

    def _declare(self, link: Link, queue: Queue) -> None:
        self._queues[queue.name] = queue
        if queue.exclusive:
            return  # by the connection that consumes it
        for step in topology.declaring(queue, self.address):
            self.run(link, step)
        self._ready.add(queue.name)

    def run(self, link: Link, step: Step) -> None:
        """Declare something; what is there with other arguments is taken as it is."""
        try:
            link.run(step)
        except ChannelError as exc:
            if exc.code == PRECONDITION_FAILED and not isinstance(step, Bind):
                link.run(_passively(step))
            else:
                raise OperationalError(f"RabbitMQ refuses to declare {step}: {exc.text}") from exc

    def known(self) -> list[str]:
        """The names of the queues that were declared or used here."""
        return list(self._queues)

    def queue(self, name: str) -> Queue:
        """The queue of that name, as it was declared here."""
        return self._queues.get(name) or Queue(name)

    def once(self, name: str, act: Callable[[], None]) -> None:
        """Do something that need not be done again while the connections stand."""
        if self._ready_pid != os.getpid():
            self._ready, self._ready_pid = set(), os.getpid()
        if name not in self._ready:
            act()
            self._ready.add(name)

    # Publishing

    def publish(self, messages: Sequence[TaskMessage]) -> None:
        mode = self.address.delivery_mode
        self.send([to_parcel(message, mode) for message in messages], [m.due for m in messages])

    def send(self, parcels: Sequence[Parcel], due: Sequence[float | None] = ()) -> None:
        """Publish parcels, each no sooner than it is due.

        Raises:
            QueueNotFound: no queue is bound for one of them.
            OperationalError: the broker refuses one, or cannot be reached.
        """
        if not parcels:
            return
        with self.link() as link:
            routed = [self._route(link, parcel) for parcel in parcels]
            for place, moment in enumerate(due):
                if moment is not None:
                    routed[place] = self._delay(link, routed[place], moment)
            try:
                publish(link, routed, self._attempts)
            except QueueNotFound:
                # A queue may have been deleted since it was declared here.
                self._ready.clear()
                if any(parcel.exchange for parcel in routed):
                    raise
                for parcel in routed:
                    self._route(link, parcel)
                publish(link, routed, self._attempts)

    def _route(self, link: Link, parcel: Parcel) -> Parcel:
        """Make sure that it arrives, as far as that can be known beforehand."""
        name = parcel.routing_key
        if parcel.exchange:
            self.once(f"exchange {parcel.exchange}", lambda: self._look_for(link, parcel))
            return parcel
        self.once(name, lambda: self._declare(link, self.queue(name)))
        if parcel.priority and topology.priority_queues(self.queue(name), self.address):
            parcel.routing_key = topology.priority_queue(name, parcel.priority)
        return parcel

    def _look_for(self, link: Link, parcel: Parcel) -> None:
        try:
            link.run(DeclareExchange(parcel.exchange, passive=True))
        except ChannelError as exc:
            if exc.code == NOT_FOUND:
                raise missing_exchange(exc, parcel.exchange, parcel.routing_key) from exc
            raise OperationalError(exc.text) from exc

    def _delay(self, link: Link, parcel: Parcel, due: float) -> Parcel:
        waiting, in_broker = delayed(parcel, due)
        if in_broker:
            self.once("delays", lambda: self._declare_delays(link))
            target = topology.delay_target(parcel.exchange, parcel.routing_key)
            self.once(f"delay {target.target} {target.routing_key}", lambda: self.run(link, target))
        return waiting

    def _declare_delays(self, link: Link) -> None:
        for step in topology.declaring_delays(self.address.delay_queue_type):
            self.run(link, step)

    # Looking

    def queues(self) -> list[str]:
        """Those that were declared or used here, and are there: AMQP has no way to list others."""
        return [name for name in self.known() if self.size(name) is not None]

    def size(self, queue: str) -> int | None:
        """How many messages are ready in a queue; None if it is not there."""
        with self.link() as link:
            try:
                return link.size(queue)
            except ChannelError as exc:
                if exc.code == NOT_FOUND:
                    return None
                raise OperationalError(exc.text) from exc

    def names(self, queue: str) -> list[str]:
        """The queues that hold a queue's messages, the most urgent first."""
        return [*topology.priority_queues(self.queue(queue), self.address), queue]

    def depth(self, queue: str) -> QueueDepth:
        """Ready and dead ones: AMQP does not tell of the others."""
        ready = sum(self.size(name) or 0 for name in self.names(queue))
        return QueueDepth(ready=ready, dead=self.size(topology.dead_queue(queue)) or 0)

    def purge(self, queue: str) -> int:
        """Delete what is ready; delayed messages wait in queues that serve all."""
        count = 0
        for name in self.names(queue):
            if self.size(name) is not None:
                with self.link() as link:
                    count += link.purge(name)
        return count

    def browse(self, queue: str, limit: int) -> list[TaskMessage]:
        """What waits; having been looked at, it counts as delivered before."""
        found: list[TaskMessage] = []
        for name in self.names(queue):
            if self.size(name) is None:
                continue
            with self.looking(name) as link:
                while len(found) < limit and (arrival := link.get(name)) is not None:
                    try:
                        found.append(to_message(arrival.parcel))
                    except DecodeError:
                        continue
        return found

    # Dead letters

    def dead_letters(self, queue: str | None = None, limit: int = 100) -> list[DeadLetter]:
        return self.dead.read(queue, limit)

    def retry_dead(self, ids: Sequence[str]) -> int:
        return self.dead.retry(ids)

    def purge_dead(self, ids: Sequence[str] | None = None) -> int:
        return self.dead.purge(ids)

    # Revoked tasks, and paused queues

    def revoke(self, task_ids: Sequence[str], expires: float, signal: str = "") -> None:
        write_revoked(self, task_ids, expires, signal)

    def pause(self, queue: str) -> None:
        self.declare([self.queue(queue)])
        write_paused(self, queue, True)

    def resume(self, queue: str) -> None:
        write_paused(self, queue, False)

    def paused(self) -> list[str]:
        orders = self.orders
        if orders is not None and orders.has_learnt:
            if not orders.is_current:
                raise OperationalError("which queues are paused is not known at the moment")
            return sorted(set(orders.paused))
        # The stream is read on an event loop; the calling thread may have one that runs.
        with ThreadPoolExecutor(1) as thread:
            return sorted(thread.submit(asyncio.run, read_paused(self)).result())

    def ping(self) -> None:
        for name in self.known():
            self.size(name)
            return

    # Telling everybody

    def broadcast(self, notices: Sequence[Notice]) -> None:
        if notices:
            with self.link() as link:
                tell(self, link, notices)

    def subscribe(
        self, channel: Channel, keys: Sequence[str] = ("#",), *, name: str = ""
    ) -> Subscription:
        return BlockingSubscription(AmqpSubscription(self, channel, keys, name))

    async def asubscribe(
        self, channel: Channel, keys: Sequence[str] = ("#",), *, name: str = ""
    ) -> AsyncSubscription:
        subscription = AmqpSubscription(self, channel, keys, name)
        await subscription.open()
        return subscription

    # Consuming

    def consumer(self, queues: Sequence[Queue], *, lease: float, backend: Backend) -> Consumer:
        # Imported by those who consume.
        from taskq.brokers.amqp.consumer import AmqpConsumer

        return AmqpConsumer(self, queues)

    async def asend(self, parcels: Sequence[Parcel], due: Sequence[float | None] = ()) -> None:
        """`send` for code on an event loop."""
        await asyncio.to_thread(self.send, parcels, due)

    def close(self) -> None:
        self._links.close()
        self._ready.clear()


def _passively(step: Step) -> Step:
    if isinstance(step, DeclareQueue):
        return DeclareQueue(step.name, passive=True)
    assert isinstance(step, DeclareExchange)
    return DeclareExchange(step.name, passive=True)
