"""Results in Redis, under Celery's keys: either side reads what the other has written.

An outcome lies under ``celery-task-meta-<id>`` and is told on a channel of the same name.
Whoever waits subscribes and then looks, so that nothing falls in between, both with one
packet; a look now and then stands behind it.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from taskq import states
from taskq.backends.base import Backend, ChordPart, ChordRecord, Outcome
from taskq.backends.documents import pack_outcome, unpack_outcome
from taskq.backends.redis.listener import Listener
from taskq.backends.redis.scripts import ADD_PART, COUNT_PARTS, JOIN_CHORD, STORE
from taskq.stores.redis import Address, Call, RedisStore, Steps
from taskq.stores.redis.calls import Word, command
from taskq.stores.redis.keys import Layout

if TYPE_CHECKING:
    import asyncio

    from taskq.backends.redis.aio import LoopListener

FIRST_POLL, LAST_POLL = 0.5, 5.0
"""Seconds after which whoever waits looks by itself, in case that the push was lost."""
_PART = 256
"""Outcomes in one call at most."""


class RedisBackend(Backend):
    """The result store of ``redis://`` and the other schemes of `taskq.stores.redis.address`.

    Args:
        address: where it is.
        expires: seconds that an outcome is kept; 0 keeps it for ever.
    """

    def __init__(self, address: Address, expires: float = 86400.0) -> None:
        super().__init__(expires)
        self.client = RedisStore(address)
        self.layout = Layout(address)
        self._listener = Listener(self.client)
        self._pid = os.getpid()
        self._loops: WeakKeyDictionary[asyncio.AbstractEventLoop, LoopListener] = (
            WeakKeyDictionary()
        )

    @property
    def ttl(self) -> int:
        """Milliseconds that an outcome is kept; 0 for ever."""
        return int(self.expires * 1000)

    # Keeping

    def store(self, outcomes: Sequence[Outcome]) -> None:
        if outcomes:
            self.client.run(self._storing(outcomes))

    def _storing(self, outcomes: Sequence[Outcome]) -> Steps[None]:
        # On a cluster each key is in a slot of its own, and a script works within one.
        part = 1 if self.client.address.cluster else _PART
        calls = []
        for start in range(0, len(outcomes), part):
            rows = outcomes[start : start + part]
            words: list[Word] = []
            for outcome in rows:
                words += outcome.state, pack_outcome(outcome)
            keys = [self.layout.result(outcome.task_id) for outcome in rows]
            calls.append(STORE.call(keys, self.ttl, *words))
        yield calls

    def fetch(self, task_ids: Sequence[str]) -> dict[str, Outcome]:
        return self.client.run(self._fetching(task_ids)) if task_ids else {}

    async def afetch(self, task_ids: Sequence[str]) -> dict[str, Outcome]:
        # Imported by those who use it: it needs asyncio, which doubles the time to import taskq.
        from taskq.stores.redis.aio import on_loop

        return await on_loop(self.client).run(self._fetching(task_ids)) if task_ids else {}

    def _fetching(self, task_ids: Sequence[str]) -> Steps[dict[str, Outcome]]:
        keys = [self.layout.result(task_id) for task_id in task_ids]
        if self.client.address.cluster:
            values = yield [command(key, "GET", key) for key in keys]
        else:
            calls: list[Call] = []
            for start in range(0, len(keys), _PART):
                part = keys[start : start + _PART]
                calls.append(command(part[0], "MGET", *part))
            values = [value for reply in (yield calls) for value in reply]
        return {
            task_id: unpack_outcome(task_id, value)
            for task_id, value in zip(task_ids, values, strict=True)
            if value is not None
        }

    def forget(self, task_ids: Sequence[str]) -> None:
        keys = [self.layout.result(task_id) for task_id in task_ids]
        if keys:
            self.client.calls(*(command(key, "DEL", key) for key in keys))

    def add_parts(self, parts: Sequence[ChordPart]) -> list[ChordPart]:
        calls = []
        for part in parts:
            key = self.layout.parts(part.group)
            calls.append(ADD_PART.call([key], self.ttl, part.index, part.payload))
        counts = self.client.calls(*calls) if calls else []
        return [part for part, count in zip(parts, counts, strict=True) if count >= part.size]

    def chord_parts(self, group: str) -> dict[int, bytes]:
        key = self.layout.parts(group)
        (flat,) = self.client.calls(command(key, "HGETALL", key))
        return {
            int(place): part
            for place, part in zip(flat[::2], flat[1::2], strict=True)
            if place.isdigit()
        }

    def forget_parts(self, group: str) -> None:
        key = self.layout.parts(group)
        self.client.calls(command(key, "DEL", key))

    def keep_chords(self, records: Sequence[ChordRecord]) -> None:
        calls: list[Call] = []
        index = self.layout.chords
        ttl = int(self.chord_expires * 1000)
        for record in records:
            key = self.layout.parts(record.group)
            calls.append(command(index, "ZADD", index, 0, record.group))
            calls.append(command(key, "HSETNX", key, "record", record.payload))
            if ttl:
                calls.append(command(key, "PEXPIRE", key, ttl))
        if calls:
            self.client.calls(*calls)

    def chord_record(self, group: str) -> bytes | None:
        key = self.layout.parts(group)
        (record,) = self.client.calls(command(key, "HGET", key, "record"))
        return bytes(record) if record is not None else None

    def forget_chord(self, group: str) -> None:
        key, index = self.layout.parts(group), self.layout.chords
        self.client.calls(command(key, "DEL", key), command(index, "ZREM", index, group))

    def open_chords(self, after: str, limit: int) -> list[ChordRecord]:
        index = self.layout.chords
        least = f"({after}" if after else "-"
        (names,) = self.client.calls(
            command(index, "ZRANGEBYLEX", index, least, "+", "LIMIT", 0, limit)
        )
        groups = [name.decode() for name in names]
        if not groups:
            return []
        counts = self.client.calls(*(COUNT_PARTS.call([self.layout.parts(g)]) for g in groups))
        found, gone = [], []
        for group, (payload, count) in zip(groups, counts, strict=True):
            if payload is None:
                gone.append(group)
            else:
                found.append(ChordRecord(group, payload, count))
        if gone:
            self.client.calls(command(index, "ZREM", index, *gone))
        return found

    def extend_chord(self, group: str, index: int) -> None:
        ttl = int(self.chord_expires * 1000)
        self.client.calls(JOIN_CHORD.call([self.layout.parts(group)], ttl, index))

    def save_group(self, group: str, payload: bytes) -> None:
        key = self.layout.group(group)
        more = ("PX", self.ttl) if self.ttl else ()
        self.client.calls(command(key, "SET", key, payload, *more))

    def restore_group(self, group: str) -> bytes | None:
        key = self.layout.group(group)
        (payload,) = self.client.calls(command(key, "GET", key))
        return bytes(payload) if payload is not None else None

    def delete_group(self, group: str) -> None:
        key = self.layout.group(group)
        self.client.calls(command(key, "DEL", key))

    def cleanup(self) -> int:
        return 0  # Redis deletes by itself what has expired

    # Waiting

    def wait(self, task_ids: Sequence[str], timeout: float | None) -> dict[str, Outcome]:
        if timeout == 0 or not task_ids:
            return _ready(self.fetch(task_ids))
        if self._pid != os.getpid():
            self._listener, self._pid = Listener(self.client), os.getpid()
        watch = _Watch(timeout)
        names = {self.layout.result(task_id): task_id for task_id in task_ids}
        with self._listener.listening(names) as ear:
            while True:
                news = self._listener.hear(ear, watch.pause())
                ready = _told(news, names)
                if not ready and not news:
                    ready = _ready(self.fetch(task_ids))
                if ready or watch.over():
                    return ready

    async def await_(self, task_ids: Sequence[str], timeout: float | None) -> dict[str, Outcome]:
        if timeout == 0 or not task_ids:
            return _ready(await self.afetch(task_ids))
        watch = _Watch(timeout)
        names = {self.layout.result(task_id): task_id for task_id in task_ids}
        async with self._on_loop().listening(names) as ear:
            while True:
                news = await ear.hear(watch.pause())
                ready = _told(news, names)
                if not ready and not news:
                    ready = _ready(await self.afetch(task_ids))
                if ready or watch.over():
                    return ready

    def _on_loop(self) -> LoopListener:
        # asyncio is imported by those who use it: it doubles the time to import taskq.
        import asyncio

        from taskq.backends.redis.aio import LoopListener
        from taskq.stores.redis.aio import on_loop

        loop = asyncio.get_running_loop()
        listener = self._loops.get(loop)
        if listener is None:
            listener = LoopListener(on_loop(self.client), lambda: self._loops.pop(loop, None))
            self._loops[loop] = listener
        return listener

    def close(self) -> None:
        self._listener.close()
        self.client.close()


class _Watch:
    """How long to wait, and how long until the next look.

    Args:
        timeout: seconds in all; None is for ever.
    """

    def __init__(self, timeout: float | None) -> None:
        self._end = float("inf") if timeout is None else time.monotonic() + timeout
        self._poll = FIRST_POLL

    def pause(self) -> float:
        """Seconds until it is time to look, if nothing is told before."""
        poll, self._poll = self._poll, min(self._poll * 2, LAST_POLL)
        return max(min(poll, self._end - time.monotonic()), 0.0)

    def over(self) -> bool:
        """Is the time over?"""
        return time.monotonic() >= self._end


def _ready(found: dict[str, Outcome]) -> dict[str, Outcome]:
    return {key: o for key, o in found.items() if o.state in states.READY_STATES}


def _told(news: Sequence[tuple[str, bytes]], names: dict[str, str]) -> dict[str, Outcome]:
    """The tasks that have ended, by what was told of them."""
    told = {names[channel]: unpack_outcome(names[channel], value) for channel, value in news}
    return _ready(told)
