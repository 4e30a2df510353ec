"""The worker's side of the Redis broker: fetch, extend, settle.

A busy worker fetches with a script, which is strict about priorities over all its queues.
An idle one blocks in XREADGROUP, which hands it a new message without a second round trip;
what no such read can see (a message that is given back or becomes due, a pause) is told on
a channel, and the read is ended for it.
"""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
import time
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Any

from taskq.brokers.base import REVOKED_POLL, Consumer, Delivery, Fate, Settlement
from taskq.brokers.redis.lane import Lane
from taskq.brokers.redis.scripts import EXTEND, GIVE_BACK, SWEEP
from taskq.brokers.redis.settling import Settling
from taskq.brokers.redis.wakeups import WakeUps
from taskq.exceptions import DecodeError
from taskq.message import unpack
from taskq.stores.redis.aio import on_loop
from taskq.stores.redis.calls import Call, command
from taskq.stores.redis.keys import FREE, GROUP

if TYPE_CHECKING:
    from taskq.backends.redis import RedisBackend
    from taskq.brokers.redis.broker import RedisBroker
    from taskq.routing import Queue

logger = logging.getLogger("taskq.worker")

_SWEEP_EVERY = 1.0
"""Seconds between two looks for leases that have ended; one look serves all workers."""
_IDLE = 1.0
"""Seconds that an idle worker waits before it looks by itself."""
_QUIET = 0.00015
"""Seconds of waiting after which a message has come by itself, with no others about."""
_FETCH = 1000
_EXTEND = 500
_GIVE_BACK = 500


class RedisConsumer(Consumer):
    """Consumes queues of one Redis.

    Args:
        broker: whose queues.
        queues: what to consume.
        lease: seconds that a delivery is ours without being extended.
        backend: the store in the same place, whose outcomes `settle` writes itself.
    """

    def __init__(
        self,
        broker: RedisBroker,
        queues: Sequence[Queue],
        lease: float,
        backend: RedisBackend | None,
    ) -> None:
        self._broker = broker
        self._client = on_loop(broker.store)
        self._layout = broker.layout
        self._lease = int(lease * 1000)
        # Its end tells others for how long what it holds is leased.
        name = f"{os.uname().nodename}-{os.getpid()}-{secrets.token_hex(4)}"
        self._me = f"{name}:{self._lease}"
        self._settling = Settling(self._client, self._layout, self._me, backend)
        self._lane_of: dict[str, Lane] = {}
        self._use(queues)
        self._changed: Sequence[Queue] | None = None
        self._receiving = False
        self._applied: asyncio.Future[None] | None = None
        self._loop = asyncio.get_running_loop()
        self._wakeups = WakeUps(self._client, self._channels())
        self._asked = self._loop.time()
        self._revoked = WakeUps(self._client, [self._layout.topic("revoked")])
        self._know_revoked = False
        self._next_sweep = 0.0
        self._swept = False
        self._quiet = False

    def _use(self, queues: Sequence[Queue]) -> None:
        self._queues = list(queues)
        self._passing = [queue for queue in queues if queue.auto_delete]
        self._lanes = self._make_lanes()
        # Those of queues that are not consumed any more stay: what they gave is to be settled.
        self._lane_of.update({keys.name: lane for lane in self._lanes for keys in lane.queues})

    def _channels(self) -> list[str]:
        return [keys.wake for lane in self._lanes for keys in lane.queues]

    def _make_lanes(self) -> list[Lane]:
        """The queues by slot: one lane, but on a cluster."""
        passing = {queue.name for queue in self._passing}
        slots: dict[int, list[Any]] = {}
        for queue in self._queues:
            keys = self._layout.queue(queue.name)
            slots.setdefault(self._broker.store.topology.slot(keys.base), []).append(keys)
        return [Lane(self._client, keys, self._me, passing) for keys in slots.values()]

    async def change_queues(self, queues: Sequence[Queue]) -> None:
        self._changed = queues
        self._wakeups.tell()
        if self._receiving:
            # The blocking reads are of the queues before, until they have been ended.
            self._applied = self._applied or self._loop.create_future()
            await asyncio.shield(self._applied)

    def _has_changed(self) -> None:
        if self._applied is not None:
            self._applied.set_result(None)
            self._applied = None

    async def _change(self) -> None:
        queues, self._changed = self._changed or (), None
        names = {queue.name for queue in queues}
        gone = [queue for queue in self._passing if queue.name not in names]
        for lane in self._lanes:
            await lane.close()
        await self._wakeups.close()
        self._use(queues)
        self._wakeups = WakeUps(self._client, self._channels())
        self._next_sweep, self._quiet, self._swept = 0.0, False, False
        for queue in gone:
            await self._client.run(self._broker.undeclaring(queue))
        self._has_changed()

    # Receiving

    async def receive(self, limit: int) -> list[Delivery]:
        self._receiving = True
        try:
            return await self._receive(min(limit, _FETCH))
        finally:
            self._receiving = False
            self._has_changed()  # at the latest when it is called again

    async def _receive(self, limit: int) -> list[Delivery]:
        while True:
            # What a cancelled call has left behind comes first.
            found = await self._end_reads()
            if self._changed is not None:
                await self._change()
            if not (self._lanes or found):
                await self._wakeups.wait()
                self._wakeups.clear()
                continue
            await self._wakeups.start()
            now = self._loop.time()
            asked = self._asked if found else now
            self._asked = asked
            told, most = self._wakeups.clear(), limit
            if told or found or not self._quiet or now >= self._next_sweep:
                await self._keep_house()
                if len(found) < limit:
                    found += await self._fetch(limit - len(found))
            else:
                most = 1  # without a fetch before it, only the first of a read is in order
            if not found:
                found = await self._wait_for_news()
            found = await self._still_ours(found, asked)
            deliveries = await self._readable(await self._within(found, most))
            if deliveries:
                return deliveries

    async def _fetch(self, limit: int) -> list[Delivery]:
        found: list[Delivery] = []
        if len(self._lanes) <= 1:
            for lane in self._lanes:
                await self._fetch_lane(lane, limit, 0, found)
            return found
        while len(found) < limit:
            # The most urgent first, wherever it lies: each lane is asked what it has.
            tops = await asyncio.gather(*(lane.top() for lane in self._lanes))
            ranked = sorted(zip(tops, range(len(tops)), strict=True), reverse=True)
            (best, index), (second, _) = ranked[0], ranked[1]
            before = len(found)
            if best >= 0:
                least = max(second, 0)
                await self._fetch_lane(self._lanes[index], limit - len(found), least, found)
            if len(found) == before:
                break
        if not found:  # learns when the next delayed message is due
            for lane in self._lanes:
                await self._fetch_lane(lane, limit - len(found), 0, found)
        return found

    async def _fetch_lane(self, lane: Lane, limit: int, least: int, found: list[Delivery]) -> None:
        if limit <= 0:
            return
        found += await lane.fetch(limit, least)
        if lane.missing:
            # The server has lost our queues (FLUSHALL, a restart without data).
            logger.warning("queues are not there any more, and are declared again")
            await self._client.run(self._broker.declaring(self._queues))
            found += await lane.fetch(limit, least)

    async def _wait_for_news(self) -> list[Delivery]:
        """Block until a message comes, or there is reason to look."""
        if self._changed is not None:
            return []
        began = time.monotonic()  # an event loop's own clock may know only milliseconds
        now = self._loop.time()
        pause = min([_IDLE, *(lane.due - now for lane in self._lanes)])
        for lane in self._lanes:
            await lane.begin_read(_IDLE, self._wakeups.rouse)
        timer = self._loop.call_later(pause, self._wakeups.tell)
        try:
            if not any(lane.has_read for lane in self._lanes):
                await self._wakeups.wait()
        finally:
            timer.cancel()
        found = await self._end_reads()
        # When messages come one by one, whoever has handled one need not look for more before
        # it waits again: a look costs both sides more than the message itself.
        self._quiet = len(found) == 1 and time.monotonic() - began > _QUIET
        return found

    async def _end_reads(self) -> list[Delivery]:
        """End the blocking reads, with what they have."""
        found: list[Delivery] = []
        for lane in self._lanes:
            if lane.is_reading:
                found += await lane.end_read()
        found.sort(key=_urgency)
        return found

    async def _still_ours(self, found: list[Delivery], asked: float) -> list[Delivery]:
        """Leave out what has gone to others while this process stood still with it unread."""
        if not found or self._loop.time() - asked < self._lease / 2000:
            return found
        lost = set(map(id, await self.extend(found)))
        return [delivery for delivery in found if id(delivery) not in lost]

    async def _within(self, found: list[Delivery], limit: int) -> list[Delivery]:
        """Give back what is more than was asked for: a read gives one of each stream."""
        if len(found) > limit:
            await self.settle([Settlement(d, Fate.REQUEUE, unused=True) for d in found[limit:]])
        return found[:limit]

    async def _readable(self, found: list[Delivery]) -> list[Delivery]:
        """Bury what cannot be read."""
        deliveries: list[Delivery] = []
        for delivery in found:
            try:
                delivery.message = unpack(delivery.packed)
            except DecodeError as exc:
                await self.settle([Settlement(delivery, Fate.DEAD, reason=str(exc))])
            else:
                deliveries.append(delivery)
        return deliveries

    # Housekeeping

    async def _keep_house(self) -> None:
        """Now and then: free what others have lost, and keep our temporary queues."""
        now = self._loop.time()
        if now < self._next_sweep or not self._lanes:
            return
        calls = [self._sweeping(lane) for lane in self._lanes]
        await self._client.calls(*calls, *self._keeping())
        self._next_sweep = now + _SWEEP_EVERY
        self._swept = True

    def _sweeping(self, lane: Lane) -> Call:
        keys = [key for queue in lane.queues for key in (queue.swept, *queue.streams)]
        channels = [queue.wake for queue in lane.queues]
        pause = int(_SWEEP_EVERY * 900)  # a little less, so that whoever comes first sweeps
        # The first look is our own: what a worker before us held may be free.
        return SWEEP.call(keys, GROUP, FREE, pause, int(not self._swept), *channels)

    def _keeping(self) -> list[Call]:
        """Renews the life of temporary queues."""
        ttl = max(3 * self._lease, 5000)
        return [
            command(key, "PEXPIRE", key, ttl)
            for queue in self._passing
            for keys in [self._layout.queue(queue.name)]
            for key in (keys.streams[0], keys.born, keys.crashes)
        ]

    # Settling

    async def settle(self, batch: Sequence[Settlement]) -> None:
        await self._settling.settle(batch)

    # Leases

    async def extend(self, deliveries: Collection[Delivery]) -> list[Delivery]:
        lost: list[Delivery] = []
        mine = list(deliveries)
        for start in range(0, len(mine), _EXTEND):
            lost += await self._extend(mine[start : start + _EXTEND])
        if self._passing:
            await self._client.calls(*self._keeping())
        return lost

    async def _extend(self, deliveries: list[Delivery]) -> list[Delivery]:
        parts: dict[int, list[Delivery]] = {}
        for delivery in deliveries:
            parts.setdefault(id(self._lane_of[delivery.queue]), []).append(delivery)
        lost: list[Delivery] = []
        for part in parts.values():
            streams: dict[str, int] = {}
            words: list[int | str] = []
            for delivery in part:
                priority, entry = delivery.tag
                stream = self._layout.queue(delivery.queue).streams[priority]
                words += streams.setdefault(stream, len(streams) + 1), entry
            (places,) = await self._client.calls(
                EXTEND.call(list(streams), GROUP, self._me, *words)
            )
            lost += [part[place] for place in places]
        return lost

    # Revoked tasks

    async def revocations(self) -> dict[str, str]:
        await self._revoked.start()
        if self._know_revoked:
            timer = self._loop.call_later(REVOKED_POLL, self._revoked.tell)
            try:
                await self._revoked.wait()
            finally:
                timer.cancel()
        self._revoked.clear()
        key, now = self._layout.revoked, int(time.time() * 1000)
        members = await self._client.call(command(key, "ZRANGEBYSCORE", key, now, "+inf"))
        self._know_revoked = True
        # A revocation with a signal comes after the one without, and wins.
        pairs = (member.decode().rpartition(" ") for member in members)
        return dict(sorted((task_id, signal) for task_id, _, signal in pairs))

    # The end

    async def close(self) -> None:
        await self._wakeups.close()
        await self._revoked.close()
        try:
            for lane in self._lanes:
                if lane.is_reading:
                    await lane.end_read()
            for lane in {id(lane): lane for lane in self._lane_of.values()}.values():
                await self._give_back(lane)
            for queue in self._passing:
                await self._client.run(self._broker.undeclaring(queue))
        finally:
            for lane in self._lanes:
                await lane.close()

    async def _give_back(self, lane: Lane) -> None:
        streams = [stream for queue in lane.queues for stream in queue.streams]
        channels = [queue.wake for queue in lane.queues for _ in queue.streams]
        more = 1
        while more:
            (more,) = await self._client.calls(
                GIVE_BACK.call(streams, GROUP, self._me, FREE, _GIVE_BACK, *channels)
            )


def _urgency(delivery: Delivery) -> int:
    return -int(delivery.tag[0])
