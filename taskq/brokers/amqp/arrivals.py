"""What RabbitMQ has handed over: it is ready, waits for its time, or goes somewhere else."""

from __future__ import annotations

import heapq
import itertools
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import msgspec

from taskq.brokers.amqp import topology
from taskq.brokers.amqp.wire import (
    COUNT,
    CRASHES,
    DELIVERIES,
    DUE,
    again,
    crashes,
    deliveries,
    to_message,
    upgraded,
    waits,
)
from taskq.brokers.base import Delivery
from taskq.exceptions import DecodeError
from taskq.message import MAX_PRIORITY, TaskMessage, pack
from taskq.stores.amqp.parcels import Arrival, Parcel

if TYPE_CHECKING:
    from taskq.brokers.amqp.dead_letters import DeadLetters

HOLD = 2.0
"""Seconds for which a message that must wait is held here; longer ones wait in the broker."""


class Tag:
    """What a delivery is acknowledged by."""

    __slots__ = ("arrival", "channel", "number")

    def __init__(self, channel: int, arrival: Arrival) -> None:
        self.channel = channel
        self.number = arrival.tag
        self.arrival = arrival


class Move(msgspec.Struct):
    """A message that goes somewhere else, as a copy, and is acknowledged when that is there.

    Attributes:
        arrival: what came.
        copy: what is published in its place.
        due: no sooner than then, as Unix time.
    """

    arrival: Arrival
    copy: Parcel
    due: float | None = None


class Arrivals:
    """What has come and was not taken yet.

    Args:
        dead: makes the copies of what cannot be read.
        is_own: does a queue belong to this worker alone?  Its messages are copies of what
            others have as well, under the same task ids.

    Attributes:
        moves: what goes somewhere else.
    """

    def __init__(self, dead: DeadLetters, is_own: Callable[[str], bool]) -> None:
        self._dead = dead
        self._is_own = is_own
        self._ready: list[deque[Delivery]] = [deque() for _ in range(MAX_PRIORITY + 1)]
        self._held: list[tuple[float, int, Delivery]] = []
        self._order = itertools.count()
        self.moves: list[Move] = []

    def clear(self) -> None:
        """All of it comes again, on another channel."""
        self._held.clear()
        self.moves.clear()
        for row in self._ready:
            row.clear()

    def sort(self, arrival: Arrival, source: str, channel: int, now: float) -> bool:
        """Put a message where it belongs.

        Args:
            arrival: the message.
            source: the worker's name of its queue.
            channel: the number of the channel on which it came.
            now: the time.

        Returns:
            Whether it is held here until it is due.
        """
        try:
            parcel = arrival.parcel = upgraded(arrival.parcel)
            move = _away(arrival, source, now)
            if move is not None:
                self.moves.append(move)
                return False
            delivery = _delivery(arrival, source, channel)
            if not self._is_own(source):
                delivery.identity = _identity(parcel, delivery.message, source)
        except DecodeError as exc:
            self.moves.append(Move(arrival, self._dead.parcel(arrival, source, str(exc))))
            return False
        wait = _wait(parcel, now)
        if wait:
            heapq.heappush(self._held, (now + wait, next(self._order), delivery))
        else:
            self._line_up(delivery)
        return bool(wait)

    def _line_up(self, delivery: Delivery) -> None:
        self._ready[delivery.message.priority].append(delivery)

    def release(self, now: float) -> list[Delivery]:
        """Make ready what was held and is due by now; what that is."""
        released = []
        while self._held and self._held[0][0] <= now:
            released.append(heapq.heappop(self._held)[2])
            self._line_up(released[-1])
        return released

    @property
    def next_due(self) -> float | None:
        """When the first that is held is due, as Unix time."""
        return self._held[0][0] if self._held else None

    def take(self, limit: int) -> list[Delivery]:
        """Up to so many that are ready, the most urgent first."""
        found: list[Delivery] = []
        for row in reversed(self._ready):
            while row and len(found) < limit:
                found.append(row.popleft())
        return found

    def drop(self, queue: str) -> tuple[list[Tag], list[Tag]]:
        """Keep nothing of one of the broker's queues; what was ready, and what was held."""
        ready: list[Tag] = []
        for row in self._ready:
            ready += [d.tag for d in row if d.tag.arrival.queue == queue]
            kept = [d for d in row if d.tag.arrival.queue != queue]
            row.clear()
            row.extend(kept)
        held = [d.tag for _, _, d in self._held if d.tag.arrival.queue == queue]
        self._held = [entry for entry in self._held if entry[2].tag.arrival.queue != queue]
        heapq.heapify(self._held)
        return ready, held


def _wait(parcel: Parcel, now: float) -> float:
    headers = parcel.headers
    return waits(parcel, now) if headers.get("eta") or DUE in headers else 0.0


def _away(arrival: Arrival, source: str, now: float) -> Move | None:
    """Where a message goes that is not to be handled as it is."""
    parcel, headers = arrival.parcel, arrival.parcel.headers
    marks: dict[str, Any]
    if arrival.redelivered and COUNT not in headers:
        # A classic queue says only that it was delivered before: a copy says how often.
        marks = {
            DELIVERIES: deliveries(arrival) - 1,
            CRASHES: crashes(arrival),
            DUE: headers.get(DUE),
        }
        return Move(arrival, again(parcel, source, marks))
    wait = _wait(parcel, now)
    if wait > HOLD:  # Celery publishes such messages to classic queues, and holds them itself
        marks = {name: headers.get(name) for name in (DELIVERIES, CRASHES, DUE)}
        return Move(arrival, again(parcel, source, marks), now + wait)
    return None


def _delivery(arrival: Arrival, source: str, channel: int) -> Delivery:
    parcel = arrival.parcel
    if not parcel.exchange or parcel.exchange.startswith(topology.DELAYED):
        parcel.exchange, parcel.routing_key = "", source
    message = to_message(parcel)
    return Delivery(
        message,
        pack(message),
        source,
        Tag(channel, arrival),
        deliveries(arrival),
        crashes(arrival),
    )


def _identity(parcel: Parcel, message: TaskMessage, source: str) -> str:
    """What names this very message among all."""
    return f"{source}/{parcel.message_id or message.id}/{message.headers.get('retries') or 0}"
