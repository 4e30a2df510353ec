"""Consuming the queues of a `MemoryBroker`."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

from taskq.backends.memory import MemoryBackend
from taskq.brokers.base import Consumer, DeadLetter, Delivery, Fate, Settlement
from taskq.brokers.memory.queues import Entry
from taskq.exceptions import DecodeError
from taskq.message import MAX_PRIORITY, TaskMessage, unpack

if TYPE_CHECKING:
    from taskq.brokers.memory.broker import MemoryBroker
    from taskq.routing import Queue


class MemoryConsumer(Consumer):
    """Consumes queues of a `MemoryBroker`; of the same package as it, and of its insides."""

    def __init__(
        self,
        broker: MemoryBroker,
        queues: Sequence[Queue],
        lease: float,
        backend: MemoryBackend | None,
    ) -> None:
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
        self._loop = asyncio.get_running_loop()

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
                async with asyncio.timeout(pause):
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

    def _bury(self, entry: Entry, reason: str, crashes: int, message: TaskMessage | None) -> None:
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

    def _find(self, delivery: Delivery) -> Entry | None:
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
