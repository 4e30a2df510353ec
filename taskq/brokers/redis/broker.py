"""The producer's side of the Redis broker, and what the commands ask of it."""

from __future__ import annotations

import itertools
import os
import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, TypeGuard

from taskq.backends.redis import RedisBackend
from taskq.brokers.base import Broker, Consumer, DeadLetter, QueueDepth
from taskq.brokers.notices import AsyncSubscription, Channel, Notice, Subscription
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
from taskq.exceptions import DecodeError, OperationalError
from taskq.message import TaskMessage, unpack
from taskq.stores.redis import Call, RedisStore, Steps
from taskq.stores.redis.calls import command
from taskq.stores.redis.keys import FREE, GROUP, Layout, QueueKeys

if TYPE_CHECKING:
    from taskq.backends.base import Backend
    from taskq.routing import Queue
    from taskq.stores.redis.address import Address

_REGISTER_EVERY = 60.0
"""Seconds after which a producer tells again of a queue, in case that the server lost it."""
_UNSURE = 1000
"""Attempts whose outcome is not known that are remembered at most."""
_PURGE_PART = 1000


class RedisBroker(Broker):
    """The broker of ``redis://`` and the other schemes of `taskq.stores.redis.address`.

    Args:
        address: where it is.
    """

    def __init__(self, address: Address) -> None:
        self.store = RedisStore(address)
        self.layout = Layout(address)
        self._attempts = _Attempts()
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
        return self.store.run(self._depth(self.layout.queue(queue)))

    def _depth(self, keys: QueueKeys) -> Steps[QueueDepth]:
        replies = yield [
            *(command(key, "XLEN", key) for key in keys.streams),
            command(keys.delayed, "ZCARD", keys.delayed),
            command(keys.dead, "XLEN", keys.dead),
        ]
        *lengths, delayed, dead = replies
        present = [key for key, length in zip(keys.streams, lengths, strict=True) if length]
        free = leased = 0
        for key in present:
            names, pending = yield from self._pending(key)
            free += names.get(FREE, 0)
            leased += pending - names.get(FREE, 0)
        return QueueDepth(
            ready=max(sum(lengths) - leased, 0), leased=leased, delayed=delayed, dead=dead
        )

    def _pending(self, stream: str) -> Steps[tuple[dict[str, int], int]]:
        """How many messages each consumer of a stream has, and all together."""
        groups: list[Any]
        (groups,) = yield [command(stream, "XINFO", "GROUPS", stream)]
        if not groups:
            return {}, 0
        (summary,) = yield [command(stream, "XPENDING", stream, GROUP)]
        rows = summary[3] or []
        return {name.decode(): int(count) for name, count in rows}, summary[0]

    def purge(self, queue: str) -> int:
        keys = self.layout.queue(queue)
        words = [*keys.streams, keys.delayed, keys.crashes]
        deleted = 0
        while count := int(self.store.calls(PURGE.call(words, GROUP, FREE, _PURGE_PART))[0]):
            deleted += count
        return deleted

    def browse(self, queue: str, limit: int) -> list[TaskMessage]:
        found = self.store.run(self._browse(self.layout.queue(queue), limit))
        return [message for packed in found if (message := _try_unpack(packed)) is not None]

    def _browse(self, keys: QueueKeys, limit: int) -> Steps[list[bytes]]:
        found: list[bytes] = []
        for stream in reversed(keys.streams):
            if len(found) < limit:
                found += yield from self._waiting(stream, limit - len(found))
        if len(found) < limit:
            (members,) = yield [
                command(keys.delayed, "ZRANGE", keys.delayed, 0, limit - len(found) - 1)
            ]
            found += [member.split(b":", 4)[4] for member in members]
        return found

    def scheduled(self, queue: str, limit: int) -> list[TaskMessage]:
        key = self.layout.queue(queue).delayed
        (members,) = self.store.calls(command(key, "ZRANGE", key, 0, limit - 1))
        found = [member.split(b":", 4)[4] for member in members]
        return [message for packed in found if (message := _try_unpack(packed)) is not None]

    def hasten(self, queue: str) -> None:
        keys = self.layout.queue(queue)
        key = keys.delayed
        self.store.calls(
            # Small scores are moments long ago; divided, they keep their order.
            command(key, "ZUNIONSTORE", key, 1, key, "WEIGHTS", "1e-6"),
            command(key, "PUBLISH", keys.wake, ""),
        )

    def _waiting(self, stream: str, limit: int) -> Steps[list[bytes]]:
        """What waits in one stream: first what was there before and waits again."""
        (length,) = yield [command(stream, "XLEN", stream)]
        if not length:
            return []
        (groups,) = yield [command(stream, "XINFO", "GROUPS", stream)]
        after, found = "-", []
        for about in map(_as_dict, groups):
            if about["name"] == GROUP.encode():
                after = "(" + about["last-delivered-id"].decode()
                (rows,) = yield [command(stream, "XPENDING", stream, GROUP, "-", "+", limit, FREE)]
                if rows:
                    entries = yield [
                        command(stream, "XRANGE", stream, row[0], row[0]) for row in rows
                    ]
                    found += [entry[0][1][1] for entry in entries if entry]
        if len(found) < limit:
            (entries,) = yield [
                command(stream, "XRANGE", stream, after, "+", "COUNT", limit - len(found))
            ]
            found += [fields[1] for _, fields in entries]
        return found

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
            letters += [_dead_letter(name, entry, fields) for entry, fields in entries]
        letters.sort(key=lambda letter: letter.died, reverse=True)
        return letters[:limit]

    def retry_dead(self, ids: Sequence[str]) -> int:
        found = 0
        for queue, entry in _dead_ids(ids):
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
            for queue, entry in _dead_ids(ids)
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


class _Attempts:
    """Names attempts to publish, so that one whose reply was lost is recognised.

    Whoever publishes the same messages again after an error takes up the same attempt.
    """

    def __init__(self) -> None:
        self._start()

    def _start(self) -> None:
        self._pid = os.getpid()
        self._senders: deque[str] = deque()
        self._unsure: dict[str, Attempt] = {}
        self._numbers = itertools.count()

    def begin(self, messages: Sequence[TaskMessage]) -> Attempt:
        """An attempt to publish these messages; `done` or `unsure` must follow."""
        if self._pid != os.getpid():
            self._start()
        attempt = self._unsure.pop(_first_id(messages), None) if self._unsure else None
        return attempt or Attempt(self._sender(), str(next(self._numbers)))

    def done(self, attempt: Attempt) -> None:
        """It has come through."""
        self._senders.append(attempt.sender)

    def unsure(self, messages: Sequence[TaskMessage], attempt: Attempt) -> None:
        """It has failed, and may have come through all the same."""
        self._unsure[_first_id(messages)] = attempt._replace(again=True)
        if len(self._unsure) > _UNSURE:
            del self._unsure[next(iter(self._unsure))]

    def _sender(self) -> str:
        """A name under which nobody else sends just now."""
        try:
            return self._senders.pop()
        except IndexError:
            return os.urandom(6).hex()


def _first_id(messages: Sequence[TaskMessage]) -> str:
    return str(messages[0].headers.get("id"))


def _as_dict(flat: Sequence[Any]) -> dict[str, Any]:
    """An answer of XINFO."""
    return {name.decode(): value for name, value in zip(flat[::2], flat[1::2], strict=True)}


def _dead_letter(queue: str, entry: bytes, fields: Sequence[bytes]) -> DeadLetter:
    about = _as_dict(fields)
    return DeadLetter(
        f"{queue}/{entry.decode()}",
        queue,
        about["reason"].decode(errors="replace"),
        float(about["died"]),
        int(about["deliveries"]),
        int(about["crashes"]),
        _try_unpack(about["m"]),
        about["m"],
    )


def _dead_ids(ids: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Queue and entry of each id that could be one."""
    for name in ids:
        queue, slash, entry = name.rpartition("/")
        time_part, dash, number = entry.partition("-")
        if slash and dash and time_part.isdigit() and number.isdigit():
            yield queue, entry


def _try_unpack(packed: bytes) -> TaskMessage | None:
    try:
        return unpack(packed)
    except DecodeError:
        return None
