"""The producer's side of the Redis broker, and what the commands ask of it."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, TypeGuard

from taskq.backends.redis import RedisBackend
from taskq.brokers.base import Broker, Consumer, DeadLetter, QueueDepth
from taskq.brokers.notices import AsyncSubscription, Channel, Notice, Subscription
from taskq.brokers.redis.attempts import Attempts
from taskq.brokers.redis.contents import dead_ids, dead_letter, depth_of, readable, waiting_in
from taskq.brokers.redis.enqueue import (
    TEMPORARY,
    Attempt,
    Routed,
    binding_field,
    enqueue_calls,
    plain_call,
    route,
)
from taskq.brokers.redis.scripts import DECLARE, PURGE, RETRY_DEAD
from taskq.brokers.redis.telling import Place, tell_calls
from taskq.exceptions import OperationalError
from taskq.message import TaskMessage
from taskq.stores.redis import Call, RedisStore, Steps
from taskq.stores.redis.calls import command
from taskq.stores.redis.keys import FREE, GROUP, Layout

if TYPE_CHECKING:
    from taskq.backends.base import Backend
    from taskq.routing import Queue
    from taskq.stores.redis.address import Address

_REGISTER_EVERY = 60.0
"""Seconds after which a producer tells again of a queue, in case that the server lost it."""
_PURGE_PART = 1000


class RedisBroker(Broker):
    """The broker of ``redis://`` and the other schemes of `taskq.stores.redis.address`.

    Args:
        address: where it is.
    """

    def __init__(self, address: Address) -> None:
        self.store = RedisStore(address)
        self.layout = Layout(address)
        self._attempts = Attempts()
        self._registered: dict[str, float] = {}

    # Publishing

    def publish(self, messages: Sequence[TaskMessage]) -> None:
        if messages:
            attempt = self._attempts.begin(messages)
            try:
                if len(messages) > 1 or not self._publish_plain(messages[0], attempt):
                    self.store.run(self._publishing(messages, attempt))
            except OperationalError:
                self._attempts.unsure(messages, attempt)
                raise
            self._attempts.done(attempt)

    async def apublish(self, messages: Sequence[TaskMessage]) -> None:
        # Imported by those who use it: it needs asyncio, which doubles the time to import taskq.
        from taskq.stores.redis.aio import on_loop

        if messages:
            attempt = self._attempts.begin(messages)
            try:
                await on_loop(self.store).run(self._publishing(messages, attempt))
            except OperationalError:
                self._attempts.unsure(messages, attempt)
                raise
            self._attempts.done(attempt)

    def _publish_plain(self, message: TaskMessage, attempt: Attempt) -> bool:
        """Send one message the short way, if there is nothing special about it."""
        if message.exchange or message.due is not None or message.once is not None:
            return False
        keys = self.layout.queue(message.routing_key)
        if time.monotonic() > self._registered.get(keys.name, 0.0):
            return False
        self.store.call(plain_call(attempt, message, keys))
        return True

    def _publishing(self, messages: Sequence[TaskMessage], attempt: Attempt) -> Steps[None]:
        routed = yield from route(self.layout, messages)
        calls: list[Call] = []
        for part in self._by_slot(routed):
            calls += enqueue_calls(attempt, part)
        new = self._unregistered(routed)
        registry = self.layout.queues
        yield [*calls, *(command(registry, "HSETNX", registry, name, "") for name in new)]
        self._registered.update(dict.fromkeys(new, time.monotonic() + _REGISTER_EVERY))

    def _by_slot(self, routed: list[Routed]) -> Iterable[list[Routed]]:
        if not self.store.address.cluster:
            return [routed] if routed else []
        parts: dict[int, list[Routed]] = {}
        for item in routed:
            parts.setdefault(self.store.topology.slot(item[1].base), []).append(item)
        return parts.values()

    def _unregistered(self, routed: Iterable[Routed]) -> list[str]:
        """Queues that nobody may have declared."""
        now, known = time.monotonic(), self._registered
        return list(
            {k.name: None for _, k, passing in routed if not passing and now > known.get(k.name, 0)}
        )

    # Queues

    def declare(self, queues: Iterable[Queue]) -> None:
        self.store.run(self.declaring(list(queues)))

    def declaring(self, queues: Sequence[Queue]) -> Steps[None]:
        """Declares queues; the steps of `declare`, for consumers too."""
        calls = []
        for queue in queues:
            keys = self.layout.queue(queue.name)
            life = TEMPORARY if queue.auto_delete else ""
            streams = keys.streams[:1] if queue.auto_delete else keys.streams
            ttl = int((queue.expires or 60.0) * 1000) if queue.auto_delete else 0
            calls.append(DECLARE.call([keys.born, *streams], GROUP, len(streams), ttl))
            registry = self.layout.queues
            calls.append(command(registry, "HSET", registry, queue.name, life))
            for bound in queue.all_bindings():
                exchange = self.layout.exchange(bound.exchange.name)
                field = binding_field(bound.routing_key, queue.name)
                value = f"{bound.exchange.type} {life}".strip()
                calls.append(command(exchange, "HSET", exchange, field, value))
        if calls:
            yield calls

    def undeclaring(self, queue: Queue) -> Steps[None]:
        """Forgets a queue and what it holds; only its dead letters stay."""
        keys = self.layout.queue(queue.name)
        (dead,) = yield [command(keys.dead, "EXISTS", keys.dead)]
        registry = self.layout.queues
        calls = [
            *(command(key, "DEL", key) for key in (*keys.fetched, keys.born, keys.swept)),
            command(registry, "HSET", registry, queue.name, "")
            if dead
            else command(registry, "HDEL", registry, queue.name),
        ]
        for bound in queue.all_bindings():
            exchange = self.layout.exchange(bound.exchange.name)
            field = binding_field(bound.routing_key, queue.name)
            calls.append(command(exchange, "HDEL", exchange, field))
        yield calls

    def queues(self) -> list[str]:
        return self.store.run(self._names())

    def _names(self) -> Steps[list[str]]:
        registry = self.layout.queues
        (flat,) = yield [command(registry, "HGETALL", registry)]
        life = {n.decode(): v.decode() for n, v in zip(flat[::2], flat[1::2], strict=True)}
        passing = [name for name, kind in life.items() if kind == TEMPORARY]
        if passing:
            streams = [self.layout.queue(name).streams[0] for name in passing]
            there = yield [command(key, "EXISTS", key) for key in streams]
            gone = [name for name, found in zip(passing, there, strict=True) if not found]
            if gone:
                yield [command(registry, "HDEL", registry, *gone)]
            for name in gone:
                del life[name]
        return sorted(life)

    def depth(self, queue: str) -> QueueDepth:
        return self.store.run(depth_of(self.layout.queue(queue)))

    def purge(self, queue: str) -> int:
        keys = self.layout.queue(queue)
        words = [*keys.streams, keys.delayed, keys.crashes]
        deleted = 0
        while count := int(self.store.calls(PURGE.call(words, GROUP, FREE, _PURGE_PART))[0]):
            deleted += count
        return deleted

    def browse(self, queue: str, limit: int) -> list[TaskMessage]:
        return readable(self.store.run(waiting_in(self.layout.queue(queue), limit)))

    def scheduled(self, queue: str, limit: int) -> list[TaskMessage]:
        key = self.layout.queue(queue).delayed
        (members,) = self.store.calls(command(key, "ZRANGE", key, 0, limit - 1))
        return readable(member.split(b":", 4)[4] for member in members)

    def hasten(self, queue: str) -> None:
        keys = self.layout.queue(queue)
        key = keys.delayed
        self.store.calls(
            # Small scores are moments long ago; divided, they keep their order.
            command(key, "ZUNIONSTORE", key, 1, key, "WEIGHTS", "1e-6"),
            command(key, "PUBLISH", keys.wake, ""),
        )

    def revoke(self, task_ids: Sequence[str], expires: float, signal: str = "") -> None:
        key, channel = self.layout.revoked, self.layout.topic("revoked")
        now = time.time()
        members = [
            word
            for task_id in task_ids
            for word in (int((now + expires) * 1000), f"{task_id} {signal}")
        ]
        if members:
            self.store.calls(
                command(key, "ZADD", key, *members),
                command(key, "ZREMRANGEBYSCORE", key, "-inf", int(now * 1000)),
                command(key, "PUBLISH", channel, ""),
            )

    # Telling everybody

    def broadcast(self, notices: Sequence[Notice]) -> None:
        if notices:
            self.store.calls(*tell_calls(self.layout, notices))

    async def abroadcast(self, notices: Sequence[Notice]) -> None:
        # Imported by those who use it: it needs asyncio, which doubles the time to import taskq.
        from taskq.stores.redis.aio import on_loop

        if notices:
            await on_loop(self.store).calls(*tell_calls(self.layout, notices))

    def subscribe(
        self, channel: Channel, keys: Sequence[str] = ("#",), *, name: str = ""
    ) -> Subscription:
        # Only those who listen need it.
        from taskq.brokers.redis.subscriptions import RedisSubscription

        return RedisSubscription(self.store, Place(self.layout, channel, keys))

    async def asubscribe(
        self, channel: Channel, keys: Sequence[str] = ("#",), *, name: str = ""
    ) -> AsyncSubscription:
        # Imported by those who use it: it needs asyncio, which doubles the time to import taskq.
        from taskq.brokers.redis.asubscriptions import AsyncRedisSubscription
        from taskq.stores.redis.aio import on_loop

        place = Place(self.layout, channel, keys)
        return await AsyncRedisSubscription.open(on_loop(self.store), place)

    # Pausing

    def pause(self, queue: str) -> None:
        keys, registry = self.layout.queue(queue), self.layout.queues
        self.store.calls(
            command(registry, "HSETNX", registry, queue, ""),
            command(keys.paused, "SET", keys.paused, "1"),
            command(keys.paused, "PUBLISH", keys.wake, ""),
        )

    def resume(self, queue: str) -> None:
        keys = self.layout.queue(queue)
        self.store.calls(
            command(keys.paused, "DEL", keys.paused),
            command(keys.paused, "PUBLISH", keys.wake, ""),
        )

    def paused(self) -> list[str]:
        names = self.queues()
        keys = [self.layout.queue(name).paused for name in names]
        found = self.store.calls(*(command(key, "EXISTS", key) for key in keys)) if keys else []
        return [name for name, there in zip(names, found, strict=True) if there]

    # Dead letters

    def dead_letters(self, queue: str | None = None, limit: int = 100) -> list[DeadLetter]:
        names = [queue] if queue is not None else self.queues()
        letters: list[DeadLetter] = []
        for name in names:
            key = self.layout.queue(name).dead
            (entries,) = self.store.calls(
                command(key, "XREVRANGE", key, "+", "-", "COUNT", max(limit, 1))
            )
            letters += [dead_letter(name, entry, fields) for entry, fields in entries]
        letters.sort(key=lambda letter: letter.died, reverse=True)
        return letters[:limit]

    def retry_dead(self, ids: Sequence[str]) -> int:
        found = 0
        for queue, entry in dead_ids(ids):
            keys = self.layout.queue(queue)
            (count,) = self.store.calls(RETRY_DEAD.call([*keys.streams, keys.dead], entry))
            found += count
        return found

    def purge_dead(self, ids: Sequence[str] | None = None) -> int:
        if ids is None:
            keys = [self.layout.queue(name).dead for name in self.queues()]
            lengths = self.store.calls(*(command(key, "XLEN", key) for key in keys)) if keys else []
            if keys:
                self.store.calls(*(command(key, "DEL", key) for key in keys))
            return sum(lengths)
        calls = [
            command(key, "XDEL", key, entry)
            for queue, entry in dead_ids(ids)
            for key in [self.layout.queue(queue).dead]
        ]
        return sum(self.store.calls(*calls)) if calls else 0

    # Consuming

    def consumer(self, queues: Sequence[Queue], *, lease: float, backend: Backend) -> Consumer:
        # Imported here because it needs asyncio, which producers need not load.
        from taskq.brokers.redis.consumer import RedisConsumer

        shared = backend if self.settles_into(backend) else None
        return RedisConsumer(self, queues, lease, shared)

    def settles_into(self, backend: Backend) -> TypeGuard[RedisBackend]:
        if not isinstance(backend, RedisBackend):
            return False
        mine, theirs = self.store.address, backend.client.address
        return mine.same_place(theirs) and (not mine.cluster or bool(mine.tag))

    def close(self) -> None:
        self.store.close()
