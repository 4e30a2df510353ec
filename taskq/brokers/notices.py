"""What is told to whoever listens, and to nobody else: remote control, its replies, events.

A notice is no message: nobody leases, acknowledges or retries it.  It reaches each
subscription that is there at that moment, at most once and in the order in which one sender
has sent; whoever comes later, is cut off, or reads too slowly misses it.

The words are AMQP's, since a broker that has exchanges tells notices by them: a `Channel` is
an exchange, a subscription is a queue that is deleted with its owner and is bound by `keys`,
and a `Notice` is a transient message (``delivery_mode=1``).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal, Self

import msgspec

from taskq.routing.matching import topic_matches

if TYPE_CHECKING:
    from types import TracebackType

MAX_UNREAD = 10_000
"""Notices that wait for a subscriber who does not read; past it the oldest are lost."""

Kind = Literal["fanout", "direct", "topic"]


class Channel(msgspec.Struct, frozen=True, eq=False, omit_defaults=True):
    """Where notices of one sort are told.

    Attributes:
        name: of the exchange.
        kind: of the exchange: ``fanout`` reaches all, ``direct`` those with that very key,
            ``topic`` those whose pattern takes the key.
        ttl: seconds that a notice waits for a subscriber who does not read, at most; None
            leaves it to the broker, which bounds it by number as well.
        expires: seconds that the queue of a subscription outlives its owner, on a broker
            that has such queues.
        durable: whether the exchange outlives a restart of the broker; whoever declares it
            must say the same as all others, and Celery's are not alike.
    """

    name: str
    kind: Kind
    ttl: float | None = None
    expires: float | None = None
    durable: bool = False

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Channel) and (self.name, self.kind) == (other.name, other.kind)

    def __hash__(self) -> int:
        return hash((self.name, self.kind))

    def reaches(self, keys: Sequence[str], key: str) -> bool:
        """Does a notice with this key reach a subscription with those keys?"""
        if self.kind == "fanout":
            return True
        if self.kind == "direct":
            return key in keys
        return any(topic_matches(pattern, key) for pattern in keys)


class Notice(msgspec.Struct, frozen=True, gc=False):
    """Something to tell.

    Attributes:
        channel: where.
        key: the routing key.
        body: what; bytes that the broker does not look into.
        headers: short facts about it, fit for JSON.
        content_type: what the body is.
        expires: seconds after which nobody needs to be told any more.
    """

    channel: Channel
    key: str
    body: bytes
    headers: dict[str, Any] = {}
    content_type: str = "application/json"
    expires: float | None = None


class Subscription(ABC):
    """One listener, for blocking code; of one thread at a time.

    It hears what is told from the moment when `Broker.subscribe` has returned.  Close it, or
    use it as a context manager.
    """

    @abstractmethod
    def receive(self, timeout: float | None = None) -> list[Notice]:
        """Wait for notices.

        Args:
            timeout: seconds to wait at most; None is for ever.

        Returns:
            What has come, in order; nothing if the time is over.

        Raises:
            OperationalError: the broker cannot be reached; what is told meanwhile is missed.
                Call again later: the subscription mends itself.
        """

    @abstractmethod
    def close(self) -> None:
        """Listen no more."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


class AsyncSubscription(ABC):
    """One listener on an event loop.  Close it, or use it as an async context manager."""

    @abstractmethod
    async def receive(self) -> list[Notice]:
        """Wait for notices; a call that is cancelled loses none.

        Returns:
            What has come, in order; at least one.

        Raises:
            OperationalError: the broker cannot be reached; what is told meanwhile is missed.
                Call again later: the subscription mends itself.
        """

    @abstractmethod
    async def close(self) -> None:
        """Listen no more."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()
