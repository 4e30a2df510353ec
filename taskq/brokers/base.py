"""The contract of a broker: what a producer, a worker and the commands ask of it.

A new broker is one module that implements `Broker` and `Consumer` and passes the
conformance suite in ``tests/conformance``.  Producers' methods block and may be called
from any thread; a consumer belongs to one event loop.

What every broker promises:

* A message that `Broker.publish` accepted is delivered at least once, until it is
  settled as done or lies in the dead-letter queue.
* A delivery is leased.  The lease ends when it is settled, or when nobody extended it
  for as long as it lasts; then the message is delivered again.
* Settling is gated: whoever settles a delivery first wins, a later settlement of the
  same message writes nothing.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Sequence
from enum import Enum
from typing import TYPE_CHECKING, Any, Self

import msgspec

from taskq.brokers.notices import AsyncSubscription, Channel, Notice, Subscription
from taskq.exceptions import ImproperlyConfigured
from taskq.message import TaskMessage

if TYPE_CHECKING:
    from types import TracebackType

    from taskq.backends.base import Backend, ChordPart, Outcome
    from taskq.routing import Queue


REVOKED_POLL = 5.0
"""Seconds after which a consumer looks for revoked tasks without having been told."""


_FAR = 10_000
"""How many messages are looked at for those that are not due, where there is no quicker way."""


class Fate(Enum):
    """What becomes of a delivery."""

    DONE = "done"
    """It is finished: forget the message."""
    REQUEUE = "requeue"
    """Deliver it again."""
    DEAD = "dead"
    """Move it to the dead-letter queue, with the reason."""


class Delivery(msgspec.Struct, eq=False, gc=False):
    """A message that was handed to this worker, under a lease.

    Attributes:
        message: the decoded envelope; its body stays bytes.
        packed: the whole message as `taskq.message.pack` made it.
        queue: where it came from.
        tag: what the broker knows it by; of no meaning to anybody else.
        deliveries: how many times it has been delivered, this one included.
        crashes: how many processes have died while running it.
        identity: names the message among all, on a broker that may hand it to another worker
            while this one still runs it; empty on one that leases by the clock.
    """

    message: TaskMessage
    packed: bytes
    queue: str
    tag: Any
    deliveries: int = 1
    crashes: int = 0
    identity: str = ""


class Settlement(msgspec.Struct, eq=False, gc=False):
    """The end of one delivery, and all that must be written with it.

    Attributes:
        delivery: what is settled.
        fate: what becomes of the message.
        outcome: what the result store is to keep, or None.
        follow_ups: messages that must be sent if, and only if, this settlement counts.
        reason: why it is dead, for whoever reads the dead-letter queue.
        crashed: REQUEUE because the process that ran it died; counted by the message.
        unused: REQUEUE of a message that was never started: this delivery is not counted.
        delay: REQUEUE no sooner than in this many seconds.
        acknowledged: the delivery was settled before the task ran (``acks_late=False``);
            only the outcome and the follow-ups remain to be written.
        further: outcomes of other tasks that are decided by this one.
        part: what it contributes to the chord that it is a member of.
    """

    delivery: Delivery
    fate: Fate
    outcome: Outcome | None = None
    follow_ups: Sequence[TaskMessage] = ()
    reason: str = ""
    crashed: bool = False
    unused: bool = False
    delay: float = 0.0
    acknowledged: bool = False
    further: Sequence[Outcome] = ()
    part: ChordPart | None = None

    def outcomes(self) -> Sequence[Outcome]:
        """All that the result store is to keep."""
        return self.further if self.outcome is None else (self.outcome, *self.further)


class QueueDepth(msgspec.Struct, frozen=True):
    """How many messages a queue holds, by what they wait for."""

    ready: int = 0
    leased: int = 0
    delayed: int = 0
    dead: int = 0


class DeadLetter(msgspec.Struct, frozen=True):
    """A message that nobody could, or would, finish.

    Attributes:
        id: names it in the dead-letter queue; not the task's id.
        queue: where it was taken from, and goes back to on retry.
        reason: why it lies here.
        died: Unix time in seconds.
        deliveries: how often it was delivered.
        crashes: how many processes died with it.
        message: the envelope, or None if it could not be read.
        packed: the bytes as they were found.
    """

    id: str
    queue: str
    reason: str
    died: float
    deliveries: int
    crashes: int
    message: TaskMessage | None
    packed: bytes = b""


class Consumer(ABC):
    """One worker's view of its queues.  Use it as an async context manager."""

    _said_nothing = False
    is_fair = False
    """Must nothing be taken from the broker beyond what `receive` asks for?"""

    async def begin(self) -> None:
        """Be there for what is sent from now on; `receive` does it too.

        Raises:
            OperationalError: the broker cannot be reached; call `receive` later.
        """

    @abstractmethod
    async def receive(self, limit: int) -> list[Delivery]:
        """Wait for messages and lease up to `limit` of them, the most urgent first.

        Returns at least one delivery.  A message whose envelope cannot be read goes to
        the dead-letter queue and is not returned.

        Raises:
            OperationalError: the broker cannot be reached; call again later.
        """

    @abstractmethod
    async def settle(self, batch: Sequence[Settlement]) -> None:
        """End deliveries, with everything that each of them must write, in one step.

        Raises:
            OperationalError: nothing of the batch was written; call again later.
        """

    @abstractmethod
    async def extend(self, deliveries: Collection[Delivery]) -> list[Delivery]:
        """Renew the leases of what is still at work.

        Returns:
            The deliveries whose lease had already been lost.
        """

    async def revocations(self) -> dict[str, str]:
        """Wait until tasks have been revoked; the first call answers at once.

        Returns:
            All that are revoked: the signal that ends a task which already runs, by its
            id; an empty text if it is to go on.

        Raises:
            OperationalError: the broker cannot be reached; call again later.
        """
        # asyncio is imported by those who use it: it doubles the time to import taskq.
        import asyncio

        if self._said_nothing:
            await asyncio.Event().wait()  # a broker that cannot revoke never has news
        self._said_nothing = True
        return {}

    async def change_queues(self, queues: Sequence[Queue]) -> None:
        """Consume these queues in place of those before, also while `receive` waits.

        What was delivered from other queues stays leased, and is extended and settled as
        ever.  The change outlives a lost connection.

        Args:
            queues: already declared; there may be none.

        Raises:
            ImproperlyConfigured: this broker cannot.
            OperationalError: the broker cannot be reached; nothing has changed.
        """
        raise ImproperlyConfigured(f"{type(self).__name__} cannot change its queues")

    @abstractmethod
    async def close(self) -> None:
        """Stop consuming, and give back at once whatever was received and not settled."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()


class Broker(ABC):
    """Where messages live between the caller and the worker."""

    leases_by_clock = True
    """Is a message handed to another worker when its lease ends, and not before?"""

    @abstractmethod
    def publish(self, messages: Sequence[TaskMessage]) -> None:
        """Send messages; all of them in one round trip, and none if it raises.

        A broker may bound for how many messages the latter holds, and says so in its guide;
        whoever publishes the same messages again after an error sends none of them twice.

        Raises:
            OperationalError: the broker cannot be reached, or refuses them.
            QueueNotFound: no queue is bound to the exchange for that routing key.
        """

    async def apublish(self, messages: Sequence[TaskMessage]) -> None:
        """`publish` for code on an event loop."""
        # asyncio is imported by those who use it: it doubles the time to import taskq.
        import asyncio

        await asyncio.to_thread(self.publish, messages)

    @abstractmethod
    def declare(self, queues: Iterable[Queue]) -> None:
        """Make queues and their bindings known, so that messages can be routed to them."""

    @abstractmethod
    def queues(self) -> list[str]:
        """The names of all queues that are declared or hold messages."""

    @abstractmethod
    def depth(self, queue: str) -> QueueDepth:
        """Count what a queue holds."""

    @abstractmethod
    def purge(self, queue: str) -> int:
        """Delete what waits in a queue, delayed messages included; running tasks go on.

        Returns:
            How many messages were deleted.
        """

    @abstractmethod
    def browse(self, queue: str, limit: int) -> list[TaskMessage]:
        """Look at what waits, the next to be served first, without taking it."""

    def scheduled(self, queue: str, limit: int) -> list[TaskMessage]:
        """Look at what is not due yet, the next to be due first, without taking it."""
        return [m for m in self.browse(queue, _FAR) if m.due is not None][:limit]

    def hasten(self, queue: str) -> None:
        """Let all that is not due yet be due at once; for tests.

        Raises:
            ImproperlyConfigured: this broker cannot.
            OperationalError: the broker cannot be reached.
        """
        raise ImproperlyConfigured(
            f"{type(self).__name__} cannot have delayed messages be due earlier"
        )

    @abstractmethod
    def dead_letters(self, queue: str | None = None, limit: int = 100) -> list[DeadLetter]:
        """Read the dead-letter queue, the newest first."""

    @abstractmethod
    def retry_dead(self, ids: Sequence[str]) -> int:
        """Send dead letters back to their queues, their counters at zero.

        Returns:
            How many were found.
        """

    @abstractmethod
    def purge_dead(self, ids: Sequence[str] | None = None) -> int:
        """Delete dead letters: these, or all."""

    def revoke(self, task_ids: Sequence[str], expires: float, signal: str = "") -> None:
        """Let no worker run these tasks: workers are told, and those that start later know.

        Args:
            task_ids: the tasks.
            expires: seconds for which that is remembered.
            signal: the name of the signal that ends those which already run; otherwise they
                go on.

        Raises:
            ImproperlyConfigured: this broker cannot.
            OperationalError: the broker cannot be reached.
        """
        raise ImproperlyConfigured(f"{type(self).__name__} cannot revoke tasks")

    # Pausing

    def pause(self, queue: str) -> None:
        """Let no worker take anything from a queue until `resume`; kept across restarts.

        What is published meanwhile waits, and what a worker has goes on.  A queue that is not
        there yet is paused as well when it comes.

        Raises:
            ImproperlyConfigured: this broker cannot.
            OperationalError: the broker cannot be reached.
        """
        raise ImproperlyConfigured(f"{type(self).__name__} cannot pause queues")

    def resume(self, queue: str) -> None:
        """Undo `pause`; a queue that is not paused stays as it is."""
        raise ImproperlyConfigured(f"{type(self).__name__} cannot pause queues")

    def paused(self) -> list[str]:
        """The names of all queues that are paused."""
        return []

    def ping(self) -> None:
        """See that the broker answers, at little cost.

        Raises:
            OperationalError: it does not.
        """
        self.paused()

    # Telling everybody; see taskq.brokers.notices for what is promised

    def broadcast(self, notices: Sequence[Notice]) -> None:
        """Tell those who listen, in one round trip; nobody else will ever know.

        Raises:
            ImproperlyConfigured: this broker cannot.
            OperationalError: the broker cannot be reached.
        """
        raise ImproperlyConfigured(f"{type(self).__name__} cannot tell anything to everybody")

    async def abroadcast(self, notices: Sequence[Notice]) -> None:
        """`broadcast` for code on an event loop."""
        # asyncio is imported by those who use it: it doubles the time to import taskq.
        import asyncio

        await asyncio.to_thread(self.broadcast, notices)

    def subscribe(
        self, channel: Channel, keys: Sequence[str] = ("#",), *, name: str = ""
    ) -> Subscription:
        """Listen to what is told from now on.

        Args:
            channel: where.
            keys: the keys of a direct channel, or the patterns of a topic; of no meaning for
                a fanout.
            name: of the queue, on a broker that has one for each subscription; no two
                subscriptions may have the same.  Empty is any name.

        Raises:
            ImproperlyConfigured: this broker cannot.
            OperationalError: the broker cannot be reached.
        """
        raise ImproperlyConfigured(f"{type(self).__name__} has no channels to listen to")

    async def asubscribe(
        self, channel: Channel, keys: Sequence[str] = ("#",), *, name: str = ""
    ) -> AsyncSubscription:
        """`subscribe` for code on an event loop."""
        raise ImproperlyConfigured(f"{type(self).__name__} has no channels to listen to")

    @abstractmethod
    def consumer(self, queues: Sequence[Queue], *, lease: float, backend: Backend) -> Consumer:
        """Start to consume; called on the event loop that will use the consumer.

        Args:
            queues: what to consume, already declared.
            lease: seconds that a delivery is ours without being extended.
            backend: where outcomes go.  `Consumer.settle` writes them itself if
                `settles_into` says so for this store; otherwise it is never given any.
        """

    def settles_into(self, backend: Backend) -> bool:
        """Can outcomes of that store be written in the same step as the acknowledgement?"""
        return False

    def close(self) -> None:
        """Let go of connections.  The broker can be used again afterwards."""
