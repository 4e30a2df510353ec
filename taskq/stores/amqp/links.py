"""What a driver is: the contract that py-amqp and pika fulfil alike.

A `Link` is blocking: a connection with one channel in confirm mode, for publishing, declaring
and looking.  An `Inbox` belongs to an event loop: a connection with one channel that consumes.
Nothing above this module knows which driver it has.
"""

from __future__ import annotations

import asyncio
import time
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from taskq.exceptions import OperationalError
from taskq.stores.amqp import frames
from taskq.stores.amqp.address import Address
from taskq.stores.amqp.parcels import Arrival, Parcel

WINDOW = 1000
"""Messages that are published before the broker must have confirmed the first of them: with
a confirm each RabbitMQ takes a tenth of what it takes in windows of hundreds."""
_BUFFER = 64 * 1024
"""Bytes that are gathered before they are written: RabbitMQ works on them meanwhile."""

NOT_FOUND, PRECONDITION_FAILED, ACCESS_REFUSED, RESOURCE_LOCKED = 404, 406, 403, 405


class DeclareExchange(msgspec.Struct, frozen=True):
    """Declares an exchange; with `passive` it must be there already."""

    name: str
    type: str = "direct"
    durable: bool = True
    auto_delete: bool = False
    arguments: Any = None
    passive: bool = False


class DeclareQueue(msgspec.Struct, frozen=True):
    """Declares a queue; with `passive` it must be there already."""

    name: str
    durable: bool = True
    exclusive: bool = False
    auto_delete: bool = False
    arguments: Any = None
    passive: bool = False


class Bind(msgspec.Struct, frozen=True):
    """Binds a queue, or an exchange, to an exchange that messages come from."""

    target: str
    source: str
    routing_key: str
    arguments: Any = None
    exchange: bool = False


Step = DeclareExchange | DeclareQueue | Bind


class ChannelError(Exception):
    """The broker closed the channel over what was asked of it.

    Attributes:
        code: AMQP's reply code.
        text: what the broker said.
    """

    def __init__(self, code: int, text: str) -> None:
        super().__init__(code, text)
        self.code = code
        self.text = text


class Refusal(msgspec.Struct):
    """A message that the broker did not take.

    Attributes:
        place: its place among those that were published.
        unroutable: no queue is bound for it.
        text: what the broker said.
    """

    place: int
    unroutable: bool
    text: str


class Unconfirmed(OperationalError):
    """Messages were published, and the broker did not say in time that it has them.

    Attributes:
        confirmed: places of those that it has.
        refusals: those that it refused.
        doubtful: places of those that it may have.
    """

    def __init__(
        self, text: str, confirmed: set[int], refusals: list[Refusal], doubtful: set[int]
    ) -> None:
        super().__init__(text)
        self.confirmed = confirmed
        self.refusals = refusals
        self.doubtful = doubtful


class Confirms:
    """Keeps account of what was published on one channel, until the broker has confirmed it."""

    def __init__(self) -> None:
        self._next = 1
        self._begin()

    def _begin(self) -> None:
        self._open: dict[int, tuple[int, str | None]] = {}
        self._returned: dict[str, str] = {}
        self.confirmed: set[int] = set()
        self.refusals: list[Refusal] = []

    def begin(self) -> None:
        """A new batch; what is open from before is forgotten."""
        self._begin()

    def sent(self, place: int, message_id: str | None) -> None:
        """The message of that place was handed to the socket."""
        self._open[self._next] = place, message_id
        self._next += 1

    @property
    def open(self) -> int:
        """How many are not confirmed yet."""
        return len(self._open)

    def places(self) -> set[int]:
        """Their places."""
        return {place for place, _ in self._open.values()}

    def on_ack(self, tag: int, multiple: bool) -> None:
        """The broker has it, or told before that nobody is bound for it."""
        for place, message_id in self._pop(tag, multiple):
            text = self._returned.pop(message_id, None) if message_id else None
            if text is None:
                self.confirmed.add(place)
            else:
                self.refusals.append(Refusal(place, True, text))

    def on_nack(self, tag: int, multiple: bool) -> None:
        """The broker refuses it."""
        for place, _ in self._pop(tag, multiple):
            text = "the queue is full, or RabbitMQ could not store it"
            self.refusals.append(Refusal(place, False, text))

    def on_return(self, message_id: str | None, text: str) -> None:
        """No queue is bound for it; its confirm follows (AMQP guarantees that order)."""
        if message_id is None:
            message_id = next((known for _, known in self._open.values()), None)
        if message_id is not None:
            self._returned[message_id] = text

    def _pop(self, tag: int, multiple: bool) -> Iterable[tuple[int, str | None]]:
        if not multiple:
            entry = self._open.pop(tag, None)
            return () if entry is None else (entry,)
        # Tags are in order: the dictionary keeps that of insertion.
        tags = []
        for known in self._open:
            if known > tag:
                break
            tags.append(known)
        return [self._open.pop(known) for known in tags]


class Link(ABC):
    """A blocking connection for publishing, declaring and looking.  Not thread-safe.

    Its methods raise `OperationalError` when the connection is lost, and `ChannelError` when
    the broker closes the channel; the channel is open again afterwards.

    Args:
        address: where, and how.
    """

    def __init__(self, address: Address) -> None:
        self.address = address
        self.confirms = Confirms()
        self.blocked: str | None = None
        """Why the broker takes nothing at the moment, if it has said so."""

    @abstractmethod
    def open(self) -> None:
        """Connect, and open the channel in confirm mode."""

    @abstractmethod
    def close(self) -> None:
        """Let go of the connection; never raises."""

    @property
    @abstractmethod
    def alive(self) -> bool:
        """Does the connection stand, as far as is known?"""

    @abstractmethod
    def run(self, step: Step) -> None:
        """Declare or bind something."""

    @abstractmethod
    def size(self, queue: str) -> int:
        """How many messages are ready in a queue; `ChannelError` if it is not there."""

    @abstractmethod
    def purge(self, queue: str) -> int:
        """Delete what is ready, and tell how many that were."""

    @abstractmethod
    def delete(self, queue: str) -> None:
        """Delete a queue."""

    @abstractmethod
    def get(self, queue: str) -> Arrival | None:
        """Take the next message, if there is one; it must be acknowledged."""

    @abstractmethod
    def ack(self, tag: int) -> None:
        """Acknowledge one message."""

    @abstractmethod
    def give_back(self, queue: str) -> None:
        """Give back what was taken from a queue and not acknowledged."""

    @property
    @abstractmethod
    def channel(self) -> tuple[int, int]:
        """The channel's number, and how large a frame may be, in bytes."""

    @abstractmethod
    def write(self, data: bytes) -> None:
        """Hand whole frames to the socket."""

    @abstractmethod
    def pump(self, timeout: float) -> None:
        """Take in what the broker says, for so many seconds at most."""

    def publish(self, parcels: Sequence[Parcel], timeout: float | None = None) -> list[Refusal]:
        """Publish, and wait until the broker has confirmed all of it.

        Args:
            parcels: what to publish.
            timeout: seconds to wait for a confirm; None is the address's ``confirm_timeout``.

        Returns:
            Those that it did not take.

        Raises:
            Unconfirmed: it did not answer in time, or the connection was lost.
        """
        confirms, wait = self.confirms, timeout or self.address.confirm_timeout
        confirms.begin()
        deadline = time.monotonic() + wait
        channel, frame_max = self.channel
        gathered: list[bytes] = []
        size = 0
        try:
            for place, parcel in enumerate(parcels):
                data = frames.publish(channel, parcel, frame_max)
                gathered.append(data)
                size += len(data)
                confirms.sent(place, parcel.message_id)  # before it can fail halfway
                if size >= _BUFFER or confirms.open >= WINDOW:
                    self.write(b"".join(gathered))
                    gathered.clear()
                    size = 0
                    self.pump(0)
                    if confirms.open >= WINDOW:
                        deadline = self._drain(WINDOW // 2, deadline, wait)
            if gathered:
                self.write(b"".join(gathered))
            self._drain(0, deadline, wait)
        except (OperationalError, ChannelError) as exc:
            known = confirms.confirmed | {refusal.place for refusal in confirms.refusals}
            doubtful = confirms.places() - known
            raise Unconfirmed(str(exc), confirms.confirmed, confirms.refusals, doubtful) from exc
        return confirms.refusals

    def _drain(self, most: int, deadline: float, wait: float) -> float:
        """Wait until no more than so many are open; the deadline moves as long as some come."""
        confirms = self.confirms
        while (before := confirms.open) > most:
            now = time.monotonic()
            if now >= deadline:
                why = f" (RabbitMQ is blocked: {self.blocked})" if self.blocked else ""
                self.close()
                raise OperationalError(
                    f"RabbitMQ did not confirm {before} messages within {wait:g} s{why}"
                )
            self.pump(min(deadline - now, 1.0))
            if confirms.open < before:
                deadline = time.monotonic() + wait
        return deadline


class Inbox(ABC):
    """A connection that consumes, on the event loop that made it.

    Args:
        address: where, and how.

    Attributes:
        arrivals: what has come and was not taken yet.
        news: set when something came, the connection was lost, or a consumer was cancelled.
        lost: why the connection is of no more use, or None.
        cancelled: queues whose consumers the broker has cancelled.
    """

    def __init__(self, address: Address) -> None:
        self.address = address
        self.arrivals: list[Arrival] = []
        self.news = asyncio.Event()
        self.lost: str | None = None
        self.cancelled: set[str] = set()

    @abstractmethod
    async def open(self) -> None:
        """Connect, and open the channel."""

    @abstractmethod
    async def run(self, steps: Iterable[Step]) -> None:
        """Declare what must be declared by the connection that consumes it."""

    @abstractmethod
    async def consume(
        self, queue: str, number: int, prefetch: int, arguments: dict[str, Any]
    ) -> None:
        """Have messages sent.

        Args:
            queue: from where.
            number: of this consumer among those that we have of the queue.
            prefetch: how many it may have open at most.
            arguments: for the broker.
        """

    @abstractmethod
    async def limit(self, count: int) -> None:
        """Have no more than so many open in all, of whatever queues; none may be a quorum queue."""

    @abstractmethod
    async def cancel(self, queue: str, number: int) -> None:
        """Have no more sent by that consumer; what has come stays here."""

    def take(self) -> list[Arrival]:
        """Take out what has come."""
        count = len(self.arrivals)  # a thread of the driver's may add to them meanwhile
        found = self.arrivals[:count]
        del self.arrivals[:count]
        return found

    @abstractmethod
    def ack(self, up_to: int, others: Sequence[int] = ()) -> None:
        """Acknowledge all messages up to a tag, 0 being none, and some others.

        A lost connection is noted in `lost`.
        """

    @abstractmethod
    def nack(self, tag: int) -> None:
        """Give one message back."""

    @abstractmethod
    async def close(self) -> None:
        """Let go of the connection: the broker gives all that is open to others.  Never raises."""

    def fail(self, reason: object) -> None:
        """The connection is of no more use."""
        if self.lost is None:
            self.lost = str(reason) or type(reason).__name__
        self.news.set()
