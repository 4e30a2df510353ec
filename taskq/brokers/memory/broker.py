"""Queues, leases and dead letters in the memory of one process."""

from __future__ import annotations

import heapq
import itertools
import threading
import time
from collections import deque
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from taskq.backends.memory import MemoryBackend
from taskq.brokers.base import (
    Broker,
    Consumer,
    DeadLetter,
    Delivery,
    Fate,
    QueueDepth,
    Settlement,
)
from taskq.brokers.memory.subscriptions import AsyncMemorySubscription, MemorySubscription
from taskq.brokers.notices import AsyncSubscription, Channel, Notice, Subscription
from taskq.exceptions import DecodeError, QueueNotFound
from taskq.message import MAX_PRIORITY, TaskMessage, pack, unpack
from taskq.routing import matching_queues

if TYPE_CHECKING:
    import asyncio

    from taskq.backends.base import Backend
    from taskq.routing import Queue

L = TypeVar("L", MemorySubscription, AsyncMemorySubscription)

ONCE_WINDOW = 3600.0
"""Seconds for which a message with a `TaskMessage.once` key is recognised."""


@dataclass(slots=True, eq=False)
class _Entry:
    """One message.  `until` is the end of its lease, or when it is due."""

    seq: int
    queue: str
    packed: bytes
    priority: int
    until: float = 0.0
    owner: int = 0
    deliveries: int = 0
    crashes: int = 0


class _Queue:
    """What waits in one queue; what is leased is known to the broker alone."""

    def __init__(self) -> None:
        self.ready = [deque[_Entry]() for _ in range(MAX_PRIORITY + 1)]
        self.delayed: list[tuple[float, int, _Entry]] = []

    def add(self, entry: _Entry, now: float) -> None:
        if entry.until > now:
            heapq.heappush(self.delayed, (entry.until, entry.seq, entry))
        else:
            self.ready[entry.priority].append(entry)

    def give_back(self, entry: _Entry) -> None:
        """Put it where it was: before all that came later."""
        row = self.ready[entry.priority]
        index = next((i for i, other in enumerate(row) if other.seq > entry.seq), len(row))
        row.insert(index, entry)

    def release(self, now: float) -> None:
        while self.delayed and self.delayed[0][0] <= now:
            self.give_back(heapq.heappop(self.delayed)[2])

    def find(self, seq: int) -> _Entry | None:
        return next((entry for entry in self.waiting() if entry.seq == seq), None)

    def remove(self, entry: _Entry) -> None:
        row = self.ready[entry.priority]
        if entry in row:
            row.remove(entry)
        else:
            self.delayed = [item for item in self.delayed if item[2] is not entry]
            heapq.heapify(self.delayed)

    def waiting(self) -> Iterator[_Entry]:
        for row in reversed(self.ready):
            yield from row
        yield from (entry for _, _, entry in sorted(self.delayed))


class MemoryBroker(Broker):
    """Keeps messages in this process, and loses them with it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._queues: dict[str, _Queue] = {}
        self._bindings: dict[str, dict[tuple[str, str], str]] = {}
        self._dead: dict[str, DeadLetter] = {}
        self._steps: dict[str, float] = {}
        self._numbers = itertools.count(1)
        self._leased: dict[int, _Entry] = {}
        self._consumers: list[MemoryConsumer] = []
        self._revoked: dict[str, tuple[float, str]] = {}
        self._paused: set[str] = set()
        self._listeners: list[MemorySubscription | AsyncMemorySubscription] = []

    def publish(self, messages: Sequence[TaskMessage]) -> None:
        with self._lock:
            self._add(self._routed(messages))
        self._wake()

    def _routed(self, messages: Iterable[TaskMessage]) -> list[tuple[TaskMessage, Sequence[str]]]:
        """Messages with the queues that they go to; raises before anything is changed."""
        return [(message, self._destinations(message)) for message in messages]

    def _add(self, routed: Iterable[tuple[TaskMessage, Sequence[str]]]) -> None:
        now = time.time()
        for message, names in routed:
            if message.once is not None and not self._first_time(message.once, now):
                continue
            packed = pack(message)
            for name in names:
                entry = _Entry(
                    next(self._numbers), name, packed, message.priority, message.due or 0.0
                )
                self._queue(name).add(entry, now)

    def _queue(self, name: str) -> _Queue:
        queue = self._queues.get(name)
        if queue is None:
            queue = self._queues[name] = _Queue()
        return queue

    def _look(self, name: str) -> _Queue:
        """A queue to look at; one that is not there is not made by looking."""
        return self._queues.get(name) or _Queue()

    def _destinations(self, message: TaskMessage) -> Sequence[str]:
        if not message.exchange:
            return (message.routing_key,)
        bindings = self._bindings.get(message.exchange, {})
        rows = [(kind, key, queue) for (key, queue), kind in bindings.items()]
        found = matching_queues(rows, message.routing_key)
        if not found:
            raise QueueNotFound(
                f"no queue is bound to exchange {message.exchange!r} for routing key "
                f"{message.routing_key!r}: declare one in task_queues, or start its worker first"
            )
        return found

    def _first_time(self, step: str, now: float) -> bool:
        while self._steps and next(iter(self._steps.values())) <= now:
            del self._steps[next(iter(self._steps))]
        if step in self._steps:
            return False
        self._steps[step] = now + ONCE_WINDOW
        return True

    def _wake(self) -> None:
        for consumer in list(self._consumers):
            consumer.wake()

    def declare(self, queues: Iterable[Queue]) -> None:
        with self._lock:
            for queue in queues:
                self._queue(queue.name)
                for bound in queue.all_bindings():
                    rows = self._bindings.setdefault(bound.exchange.name, {})
                    rows[bound.routing_key, queue.name] = bound.exchange.type

    def undeclare(self, name: str) -> None:
        """Forget a queue and what it holds."""
        with self._lock:
            self._queues.pop(name, None)
            for rows in self._bindings.values():
                for key in [key for key in rows if key[1] == name]:
                    del rows[key]

    def queues(self) -> list[str]:
        with self._lock:
            return sorted(self._queues)

    def depth(self, queue: str) -> QueueDepth:
        with self._lock:
            waiting = self._look(queue)
            return QueueDepth(
                ready=sum(map(len, waiting.ready)),
                leased=sum(entry.queue == queue for entry in self._leased.values()),
                delayed=len(waiting.delayed),
                dead=sum(letter.queue == queue for letter in self._dead.values()),
            )

    def purge(self, queue: str) -> int:
        with self._lock:
            count = sum(1 for _ in self._look(queue).waiting())
            if count:
                self._queues[queue] = _Queue()
            return count

    def browse(self, queue: str, limit: int) -> list[TaskMessage]:
        with self._lock:
            entries = list(itertools.islice(self._look(queue).waiting(), limit))
        return [message for entry in entries if (message := _try_unpack(entry.packed)) is not None]

    def scheduled(self, queue: str, limit: int) -> list[TaskMessage]:
        with self._lock:
            entries = [entry for _, _, entry in sorted(self._look(queue).delayed)[:limit]]
        return [message for entry in entries if (message := _try_unpack(entry.packed)) is not None]

    def dead_letters(self, queue: str | None = None, limit: int = 100) -> list[DeadLetter]:
        with self._lock:
            letters = [x for x in self._dead.values() if queue is None or x.queue == queue]
        return letters[::-1][:limit]

    def retry_dead(self, ids: Sequence[str]) -> int:
        with self._lock:
            letters = [x for key in ids if (x := self._dead.pop(key, None)) is not None]
            for letter in letters:
                priority = letter.message.priority if letter.message else 0
                entry = _Entry(next(self._numbers), letter.queue, letter.packed, priority)
                self._queue(letter.queue).add(entry, time.time())
        self._wake()
        return len(letters)

    def purge_dead(self, ids: Sequence[str] | None = None) -> int:
        with self._lock:
            keys = list(self._dead) if ids is None else ids
            return sum(self._dead.pop(key, None) is not None for key in keys)

    def revoke(self, task_ids: Sequence[str], expires: float, signal: str = "") -> None:
        with self._lock:
            end = time.time() + expires
            self._revoked.update((task_id, (end, signal)) for task_id in task_ids)
        for consumer in list(self._consumers):
            consumer.wake(revoked=True)

    def revoked(self) -> dict[str, str]:
        """What is revoked, and the signal for what runs."""
        now = time.time()
        with self._lock:
            for task_id in [key for key, (end, _) in self._revoked.items() if end <= now]:
                del self._revoked[task_id]
            return {task_id: signal for task_id, (_, signal) in self._revoked.items()}

    def pause(self, queue: str) -> None:
        with self._lock:
            self._queue(queue)
            self._paused.add(queue)

    def resume(self, queue: str) -> None:
        with self._lock:
            self._paused.discard(queue)
        self._wake()

    def paused(self) -> list[str]:
        with self._lock:
            return sorted(self._paused)

    def broadcast(self, notices: Sequence[Notice]) -> None:
        with self._lock:
            listeners = list(self._listeners)
        for listener in listeners:
            listener.hear(notices)

    async def abroadcast(self, notices: Sequence[Notice]) -> None:
        self.broadcast(notices)

    def subscribe(
        self, channel: Channel, keys: Sequence[str] = ("#",), *, name: str = ""
    ) -> Subscription:
        return self._add_listener(MemorySubscription(channel, keys, self._remove_listener))

    async def asubscribe(
        self, channel: Channel, keys: Sequence[str] = ("#",), *, name: str = ""
    ) -> AsyncSubscription:
        return self._add_listener(AsyncMemorySubscription(channel, keys, self._remove_listener))

    def _add_listener(self, listener: L) -> L:
        with self._lock:
            self._listeners.append(listener)
        return listener

    def _remove_listener(self, listener: object) -> None:
        with self._lock:
            self._listeners = [other for other in self._listeners if other is not listener]

    def consumer(self, queues: Sequence[Queue], *, lease: float, backend: Backend) -> Consumer:
        shared = backend if isinstance(backend, MemoryBackend) else None
        consumer = MemoryConsumer(self, queues, lease, shared)
        self._consumers.append(consumer)
        return consumer

    def settles_into(self, backend: Backend) -> bool:
        return isinstance(backend, MemoryBackend)


class MemoryConsumer(Consumer):
    """Consumes queues of a `MemoryBroker`; of the same package as it, and of its insides."""

    def __init__(
        self,
        broker: MemoryBroker,
        queues: Sequence[Queue],
        lease: float,
        backend: MemoryBackend | None,
    ) -> None:
        # asyncio is imported by those who use it: it doubles the time to import taskq.
        import asyncio

        self._asyncio = asyncio
        self._broker = broker
        self._names: list[str] = []
        self._temporary: list[str] = []
        self._use(queues)
        self._lease = lease
        self._backend = backend
        self._owner = next(broker._numbers)
        self._woken = asyncio.Event()
        self._revoked = asyncio.Event()
        self._revoked.set()
        self._loop: asyncio.AbstractEventLoop = asyncio.get_running_loop()

    def _use(self, queues: Sequence[Queue]) -> None:
        gone = set(self._temporary)
        self._names = [queue.name for queue in queues]
        self._temporary = [queue.name for queue in queues if queue.auto_delete]
        for name in gone.difference(self._temporary):
            self._broker.undeclare(name)

    async def change_queues(self, queues: Sequence[Queue]) -> None:
        self._use(queues)
        self._woken.set()

    def wake(self, revoked: bool = False) -> None:
        """Look again, for messages or for what is revoked; called from any thread."""
        try:
            self._loop.call_soon_threadsafe((self._revoked if revoked else self._woken).set)
        except RuntimeError:
            pass  # its event loop has been closed without closing the consumer

    async def receive(self, limit: int) -> list[Delivery]:
        while True:
            self._woken.clear()
            with self._broker._lock:
                now = time.time()
                self._release(now)
                deliveries = self._take(limit, now)
                next_event = self._next_event(now)
            if deliveries:
                return deliveries
            try:
                pause = max(next_event - time.time(), 0.0005)
                # Not wait_for, which swallows a cancellation that comes with the news.
                async with self._asyncio.timeout(pause):
                    await self._woken.wait()
            except TimeoutError:
                pass  # something may have become due

    def _release(self, now: float) -> None:
        for name in self._names:
            self._broker._queue(name).release(now)
        leased = self._broker._leased
        for entry in [entry for entry in leased.values() if entry.until <= now]:
            del leased[entry.seq]
            self._broker._queue(entry.queue).give_back(entry)

    def _next_event(self, now: float) -> float:
        times = [entry.until for entry in self._broker._leased.values()]
        for name in self._names:
            delayed = self._broker._queue(name).delayed
            if delayed:
                times.append(delayed[0][0])
        return min(times, default=now + self._lease)

    def _take(self, limit: int, now: float) -> list[Delivery]:
        broker = self._broker
        deliveries: list[Delivery] = []
        names = [name for name in self._names if name not in broker._paused]
        for priority in range(MAX_PRIORITY, -1, -1):
            for name in names:
                row = broker._queue(name).ready[priority]
                while row and len(deliveries) < limit:
                    entry = row.popleft()
                    entry.deliveries += 1
                    try:
                        message = unpack(entry.packed)
                    except DecodeError as exc:
                        self._bury(entry, str(exc), entry.crashes, None)
                        continue
                    entry.until, entry.owner = now + self._lease, self._owner
                    broker._leased[entry.seq] = entry
                    deliveries.append(
                        Delivery(
                            message,
                            entry.packed,
                            name,
                            entry.seq,
                            entry.deliveries,
                            entry.crashes,
                        )
                    )
        return deliveries

    def _bury(self, entry: _Entry, reason: str, crashes: int, message: TaskMessage | None) -> None:
        self._broker._dead[str(entry.seq)] = DeadLetter(
            str(entry.seq),
            entry.queue,
            reason,
            time.time(),
            entry.deliveries,
            crashes,
            message,
            entry.packed,
        )

    async def settle(self, batch: Sequence[Settlement]) -> None:
        broker = self._broker
        with broker._lock:
            won = self._winners(batch)
            follow_ups = broker._routed(message for s in won for message in s.follow_ups)
            for s in won:
                if not s.acknowledged:
                    self._finish(s)
            returned = [self._requeue(s) for s in batch if s.fate is Fate.REQUEUE]
            broker._add(follow_ups)
        done: list[TaskMessage] = []
        if self._backend is not None:
            self._backend.store([outcome for s in won for outcome in s.outcomes()])
            parts = [s.part for s in won if s.part is not None]
            done = [part.done for part in self._backend.add_parts(parts)] if parts else []
            with broker._lock:
                broker._add(broker._routed(done))
        if follow_ups or done or any(returned):
            broker._wake()

    def _winners(self, batch: Sequence[Settlement]) -> list[Settlement]:
        """Those that count: acknowledged before, or the first to end their message."""
        won: list[Settlement] = []
        ended: set[int] = set()
        for s in batch:
            tag = s.delivery.tag
            if s.acknowledged:
                won.append(s)
            elif s.fate is not Fate.REQUEUE and tag not in ended and self._find(s.delivery):
                ended.add(tag)
                won.append(s)
        return won

    def _find(self, delivery: Delivery) -> _Entry | None:
        """A message that is leased, by whom it may be, or waits again."""
        broker = self._broker
        return broker._leased.get(delivery.tag) or broker._look(delivery.queue).find(delivery.tag)

    def _finish(self, s: Settlement) -> None:
        """Take a message out, for good or to the dead letters."""
        entry = self._find(s.delivery)
        assert entry is not None
        if self._broker._leased.pop(entry.seq, None) is None:
            self._broker._look(entry.queue).remove(entry)
        if s.fate is Fate.DEAD:
            self._bury(entry, s.reason, entry.crashes + s.crashed, s.delivery.message)

    def _requeue(self, s: Settlement) -> bool:
        """Give one message back, unless another worker has taken it over by now."""
        entry = self._broker._leased.get(s.delivery.tag)
        if entry is None or entry.owner != self._owner:
            return False
        del self._broker._leased[entry.seq]
        entry.crashes += s.crashed
        entry.deliveries -= s.unused
        entry.until = time.time() + s.delay if s.delay else 0.0
        queue = self._broker._queue(entry.queue)
        if s.delay:
            queue.add(entry, time.time())
        else:
            queue.give_back(entry)
        return True

    async def extend(self, deliveries: Collection[Delivery]) -> list[Delivery]:
        lost = []
        with self._broker._lock:
            until = time.time() + self._lease
            for delivery in deliveries:
                entry = self._broker._leased.get(delivery.tag)
                if entry is None or entry.owner != self._owner:
                    lost.append(delivery)
                else:
                    entry.until = until
        return lost

    async def revocations(self) -> dict[str, str]:
        await self._revoked.wait()
        self._revoked.clear()
        return self._broker.revoked()

    async def close(self) -> None:
        broker = self._broker
        if self in broker._consumers:
            broker._consumers.remove(self)
        with broker._lock:
            mine = [e for e in broker._leased.values() if e.owner == self._owner]
            for entry in mine:
                del broker._leased[entry.seq]
                entry.deliveries -= 1
                broker._queue(entry.queue).give_back(entry)
        for name in self._temporary:
            broker.undeclare(name)
        broker._wake()


def _try_unpack(packed: bytes) -> TaskMessage | None:
    try:
        return unpack(packed)
    except DecodeError:
        return None
