"""Dead letters: a queue beside each queue, where what nobody could finish lies with its reason."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

import msgspec

from taskq.brokers.amqp import topology
from taskq.brokers.amqp.wire import (
    DEAD,
    ONCE,
    again,
    crashes,
    dead_mark,
    deliveries,
    mark_of,
    to_letter,
)
from taskq.brokers.base import DeadLetter
from taskq.message import new_id
from taskq.stores.amqp.links import Link
from taskq.stores.amqp.parcels import Arrival, Parcel

if TYPE_CHECKING:
    from taskq.brokers.amqp.broker import AmqpBroker


class DeadLetters:
    """Reads, sends back and deletes dead letters.

    Args:
        broker: whose.
    """

    def __init__(self, broker: AmqpBroker) -> None:
        self._broker = broker

    def parcel(self, arrival: Arrival, queue: str, reason: str, crashed: bool = False) -> Parcel:
        """The copy of a message that is published to the dead letters."""
        mark = dead_mark(
            queue, reason, new_id(), deliveries(arrival), crashes(arrival) + int(crashed)
        )
        copy = again(arrival.parcel, queue, {DEAD: mark})
        return msgspec.structs.replace(copy, exchange=topology.DEAD_EXCHANGE, expiration=None)

    def prepare(self, queue: str) -> None:
        """Make sure that a queue's dead letters have a place."""
        broker = self._broker

        def declare() -> None:
            with broker.link() as link:
                for step in topology.declaring_dead(queue, broker.address):
                    broker.run(link, step)

        broker.once(f"dead {queue}", declare)

    def read(self, queue: str | None, limit: int) -> list[DeadLetter]:
        """The newest first; all of a queue are fetched for it, and go back."""
        found: list[DeadLetter] = []
        for name in self._names(queue):
            with self._broker.looking(topology.dead_queue(name)) as link:
                found += [to_letter(arrival, name) for arrival in _all(link, name)]
        found.sort(key=lambda letter: letter.died, reverse=True)
        return found[:limit]

    def _names(self, queue: str | None) -> list[str]:
        broker = self._broker
        names = list(broker.known()) if queue is None else [queue]
        return [name for name in names if broker.size(topology.dead_queue(name))]

    def retry(self, ids: Sequence[str]) -> int:
        """Send letters back to their queues."""

        def act(link: Link, arrival: Arrival, queue: str) -> None:
            copy = again(arrival.parcel, queue, {})
            for mark in (DEAD, ONCE):
                copy.headers.pop(mark, None)
            copy.message_id = new_id()  # it is to run, whatever came of it before
            self._broker.send([copy])

        return self._take(set(ids), act)

    def purge(self, ids: Sequence[str] | None) -> int:
        """Delete letters: these, or all."""
        if ids is not None:
            return self._take(set(ids), lambda *_: None)
        count = 0
        for name in self._names(None):
            with self._broker.link() as link:
                count += link.purge(topology.dead_queue(name))
        return count

    def _take(self, ids: set[str], act: Callable[[Link, Arrival, str], None]) -> int:
        """Do something with these letters, and take them out; the others stay as they are."""
        count = 0
        for name in self._names(None) if ids else ():
            with self._broker.looking(topology.dead_queue(name)) as link:
                for arrival in list(_all(link, name)):
                    if mark_of(arrival).get("id") in ids:
                        act(link, arrival, name)
                        link.ack(arrival.tag)
                        count += 1
        return count


def _all(link: Link, queue: str) -> Iterator[Arrival]:
    name = topology.dead_queue(queue)
    for _ in range(link.size(name)):
        arrival = link.get(name)
        if arrival is None:
            return
        yield arrival
