"""Queues, leases and dead letters in the memory of one process."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, TypeVar

from taskq.backends.memory import MemoryBackend
from taskq.brokers.base import Broker, Consumer, DeadLetter, QueueDepth
from taskq.brokers.memory.queues import Entry, WaitingQueue
from taskq.brokers.memory.subscriptions import AsyncMemorySubscription, MemorySubscription
from taskq.brokers.notices import AsyncSubscription, Channel, Notice, Subscription
from taskq.exceptions import DecodeError, QueueNotFound
from taskq.message import TaskMessage, pack, unpack
from taskq.routing import matching_queues

if TYPE_CHECKING:
    from taskq.backends.base import Backend
    from taskq.brokers.memory.consumer import MemoryConsumer
    from taskq.routing import Queue

L = TypeVar("L", MemorySubscription, AsyncMemorySubscription)

ONCE_WINDOW = 3600.0
"""Seconds for which a message with a `TaskMessage.once` key is recognised."""


class MemoryBroker(Broker):
    """Keeps messages in this process, and loses them with it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._queues: dict[str, WaitingQueue] = {}
        self._bindings: dict[str, dict[tuple[str, str], str]] = {}
        self._dead: dict[str, DeadLetter] = {}
        self._steps: dict[str, float] = {}
        self._numbers = itertools.count(1)
        self._leased: dict[int, Entry] = {}
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
                entry = Entry(
                    next(self._numbers), name, packed, message.priority, message.due or 0.0
                )
                self._queue(name).add(entry, now)

    def _queue(self, name: str) -> WaitingQueue:
        queue = self._queues.get(name)
        if queue is None:
            queue = self._queues[name] = WaitingQueue()
        return queue

    def _look(self, name: str) -> WaitingQueue:
        """A queue to look at; one that is not there is not made by looking."""
        return self._queues.get(name) or WaitingQueue()

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
                self._queues[queue] = WaitingQueue()
            return count

    def browse(self, queue: str, limit: int) -> list[TaskMessage]:
        with self._lock:
            entries = list(itertools.islice(self._look(queue).waiting(), limit))
        return [message for entry in entries if (message := _try_unpack(entry.packed)) is not None]

    def scheduled(self, queue: str, limit: int) -> list[TaskMessage]:
        with self._lock:
            entries = [entry for _, _, entry in sorted(self._look(queue).delayed)[:limit]]
        return [message for entry in entries if (message := _try_unpack(entry.packed)) is not None]

    def hasten(self, queue: str) -> None:
        with self._lock:
            self._look(queue).release(float("inf"))
        self._wake()

    def dead_letters(self, queue: str | None = None, limit: int = 100) -> list[DeadLetter]:
        with self._lock:
            letters = [x for x in self._dead.values() if queue is None or x.queue == queue]
        return letters[::-1][:limit]

    def retry_dead(self, ids: Sequence[str]) -> int:
        with self._lock:
            letters = [x for key in ids if (x := self._dead.pop(key, None)) is not None]
            for letter in letters:
                priority = letter.message.priority if letter.message else 0
                entry = Entry(next(self._numbers), letter.queue, letter.packed, priority)
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
        # Imports asyncio, which doubles the time to import taskq: for those who consume.
        from taskq.brokers.memory.consumer import MemoryConsumer

        shared = backend if isinstance(backend, MemoryBackend) else None
        consumer = MemoryConsumer(self, queues, lease, shared)
        self._consumers.append(consumer)
        return consumer

    def settles_into(self, backend: Backend) -> bool:
        return isinstance(backend, MemoryBackend)


def _try_unpack(packed: bytes) -> TaskMessage | None:
    try:
        return unpack(packed)
    except DecodeError:
        return None
