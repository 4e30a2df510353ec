"""The producer's side of kombu's transports, and what the commands ask of it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

from taskq.brokers.amqp.wire import (
    DEAD,
    again,
    crashes,
    dead_mark,
    deliveries,
    mark_of,
    to_letter,
    to_message,
    to_parcel,
)
from taskq.brokers.base import Broker, Consumer, DeadLetter, QueueDepth
from taskq.brokers.kombu.channels import (
    Channel,
    Place,
    Pool,
    again_to,
    dead_queue,
    delayed_queue,
)
from taskq.exceptions import DecodeError, QueueNotFound
from taskq.message import TaskMessage, new_id
from taskq.routing import Queue
from taskq.routing.matching import matching_queues
from taskq.stores.amqp.parcels import Arrival, Parcel

if TYPE_CHECKING:
    from taskq.backends.base import Backend


class KombuBroker(Broker):
    """A transport of kombu's, used for what all of them can do: queues.

    Exchanges are resolved here, by the queues that this process has declared.

    Args:
        place: where messages are.
    """

    def __init__(self, place: Place) -> None:
        self.place = place
        self.pool = Pool(place)
        self._queues: dict[str, Queue] = {}

    def __repr__(self) -> str:
        return f"<KombuBroker {self.place.shown}>"

    def declare(self, queues: Iterable[Queue]) -> None:
        with self.pool.channel() as channel:
            for queue in queues:
                if queue.name not in self._queues:
                    channel.declare(queue.name)
                self._queues[queue.name] = queue

    def forget(self, queue: str) -> None:
        """Delete a queue of one consumer."""
        self._queues.pop(queue, None)
        with self.pool.channel() as channel:
            channel.delete(queue)

    def publish(self, messages: Sequence[TaskMessage]) -> None:
        now = time.time()
        parcels: list[Parcel] = []
        for message in messages:
            parcel = to_parcel(message, 2)
            waits = message.due is not None and message.due > now
            parcels += [
                again_to(parcel, delayed_queue(queue) if waits else queue)
                for queue in self._targets(message)
            ]
        if parcels:
            self.send(parcels)

    def send(self, parcels: Iterable[Parcel]) -> None:
        """Put parcels into the queues that their routing keys name.

        Raises:
            OperationalError: some may have been put there.
        """
        with self.pool.channel() as channel:
            for parcel in parcels:
                channel.put(parcel)

    def _targets(self, message: TaskMessage) -> list[str]:
        exchange, key = message.exchange, message.routing_key
        if not exchange:
            self._queues.setdefault(key, Queue(key))
            return [key]
        bindings = [
            (bound.exchange.type, bound.routing_key, queue.name)
            for queue in self._queues.values()
            for bound in queue.all_bindings()
            if bound.exchange.name == exchange
        ]
        found = matching_queues(bindings, key)
        if not found:
            raise QueueNotFound(
                f"no queue is bound to the exchange {exchange!r} for the routing key {key!r}"
            )
        return found

    # Looking

    def queues(self) -> list[str]:
        """Those that were declared or used here."""
        return list(self._queues)

    def depth(self, queue: str) -> QueueDepth:
        """Ready, delayed and dead ones: kombu does not tell of those that are leased."""
        if queue not in self._queues:
            return QueueDepth()
        with self.pool.channel() as channel:
            return QueueDepth(
                ready=channel.size(queue),
                delayed=channel.size(delayed_queue(queue)),
                dead=channel.size(dead_queue(queue)),
            )

    def ping(self) -> None:
        for name in self._queues:
            with self.pool.channel() as channel:
                channel.size(name)
            return

    def purge(self, queue: str) -> int:
        with self.pool.channel() as channel:
            return sum(channel.purge(name) for name in (queue, delayed_queue(queue)))

    def browse(self, queue: str, limit: int) -> list[TaskMessage]:
        found: list[TaskMessage] = []
        for name in (queue, delayed_queue(queue)):
            for arrival in self.look(name, lambda channel, arrival: False):
                try:
                    arrival.parcel.routing_key = queue
                    found.append(to_message(arrival.parcel))
                except DecodeError:
                    continue
        return found[:limit]

    def look(self, queue: str, take: Callable[[Channel, Arrival], bool]) -> list[Arrival]:
        """All that lie in a queue; those that `take` wants no more there are taken out."""
        found: list[Arrival] = []
        with self.pool.channel() as channel:
            back: list[Any] = []
            try:
                for _ in range(channel.size(queue)):
                    if (got := channel.get(queue)) is None:
                        break
                    tag, arrival = got
                    found.append(arrival)
                    if take(channel, arrival):
                        channel.ack(tag)
                    else:
                        back.append(tag)
            finally:
                if channel.alive:
                    channel.give_back(back)
        return found

    # Dead letters

    def dead_parcel(self, arrival: Arrival, queue: str, reason: str, crashed: bool) -> Parcel:
        """The copy of a message that goes to the dead letters."""
        mark = dead_mark(queue, reason, new_id(), deliveries(arrival), crashes(arrival) + crashed)
        return again(arrival.parcel, dead_queue(queue), {DEAD: mark})

    def dead_letters(self, queue: str | None = None, limit: int = 100) -> list[DeadLetter]:
        names = self.queues() if queue is None else [queue]
        found = [
            to_letter(arrival, name)
            for name in names
            for arrival in self.look(dead_queue(name), lambda channel, arrival: False)
        ]
        found.sort(key=lambda letter: letter.died, reverse=True)
        return found[:limit]

    def retry_dead(self, ids: Sequence[str]) -> int:
        def back(channel: Channel, arrival: Arrival, queue: str) -> None:
            copy = again(arrival.parcel, queue, {})
            copy.headers.pop(DEAD, None)
            channel.put(copy)

        return self._take_dead(set(ids), back)

    def purge_dead(self, ids: Sequence[str] | None = None) -> int:
        if ids is not None:
            return self._take_dead(set(ids), lambda *_: None)
        with self.pool.channel() as channel:
            return sum(channel.purge(dead_queue(name)) for name in self.queues())

    def _take_dead(self, ids: set[str], act: Callable[[Channel, Arrival, str], None]) -> int:
        count = 0
        for name in self.queues() if ids else ():

            def take(channel: Channel, arrival: Arrival, name: str = name) -> bool:
                nonlocal count
                if mark_of(arrival).get("id") not in ids:
                    return False
                act(channel, arrival, name)
                count += 1
                return True

            self.look(dead_queue(name), take)
        return count

    # Consuming

    def consumer(self, queues: Sequence[Queue], *, lease: float, backend: Backend) -> Consumer:
        # Imported by those who consume.
        from taskq.brokers.kombu.consumer import KombuConsumer

        return KombuConsumer(self, queues)

    def close(self) -> None:
        self.pool.close()
