"""Writing settlements: one call of the script for each slot, after what lies in others."""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from taskq.brokers.base import Delivery, Fate, Settlement
from taskq.brokers.redis.enqueue import Attempt, enqueue_calls, route
from taskq.brokers.redis.settlement import SettleCall
from taskq.exceptions import BackendStoreError
from taskq.stores.redis.calls import command

if TYPE_CHECKING:
    from taskq.backends.redis import RedisBackend
    from taskq.stores.redis.aio import LoopClient
    from taskq.stores.redis.keys import Layout

_AT_ONCE = 256


class Settling:
    """Writes the settlements of one consumer.

    Args:
        client: of the event loop.
        layout: names the keys.
        me: the consumer.
        backend: the store whose outcomes are written in the same step, if it is the same.
    """

    def __init__(
        self, client: LoopClient, layout: Layout, me: str, backend: RedisBackend | None
    ) -> None:
        self._client = client
        self._layout = layout
        self._me = me
        self._backend = backend
        self._clustered = client.address.cluster

    def _slot(self, queue: str) -> int:
        return self._client.topology.slot(self._layout.queue(queue).base)

    async def settle(self, batch: Sequence[Settlement]) -> None:
        """Write these, each whole or not at all.

        Raises:
            BackendStoreError: the outcome of one cannot be stored; the others are written.
            QueueNotFound: there is none for what follows one; nothing is written.
            OperationalError: Redis cannot be reached, or refuses.
        """
        for start in range(0, len(batch), _AT_ONCE):
            await self._settle(batch[start : start + _AT_ONCE])

    async def _settle(self, batch: Sequence[Settlement]) -> None:
        follow_ups = await self._route(batch)
        parts: dict[int, SettleCall] = {}
        for s in batch:
            slot = self._slot(s.delivery.queue) if self._clustered else 0
            part = parts.get(slot)
            if part is None:
                part = parts[slot] = SettleCall(self._layout, self._me, self._backend)
            part.add(s, follow_ups.get(id(s), ()))
        if len(parts) == 1:
            (part,) = parts.values()
            replies = [await self._client.call(part.call())]
        else:
            replies = await self._client.calls(*(part.call() for part in parts.values()))
        for part, failed in zip(parts.values(), replies, strict=True):
            if failed:
                s, problem = part.settlements[failed[0]], failed[1].decode()
                raise BackendStoreError(
                    f"the outcome of {s.delivery.message.task} cannot be stored: {problem}",
                    state=s.outcome.state if s.outcome else None,
                    task_id=s.delivery.message.headers.get("id"),
                )

    async def _route(self, batch: Sequence[Settlement]) -> dict[int, list[Any]]:
        """The queues of what follows each settlement.

        Raises:
            QueueNotFound: there is none for one of them.
        """
        following = [
            s for s in batch if s.follow_ups and (s.acknowledged or s.fate is not Fate.REQUEUE)
        ]
        routed: dict[int, list[Any]] = {}
        for s in following:
            routed[id(s)] = await self._client.run(route(self._layout, s.follow_ups))
        if self._clustered:
            await self._send_elsewhere(following, routed)
        return routed

    async def _send_elsewhere(
        self, following: Iterable[Settlement], routed: dict[int, list[Any]]
    ) -> None:
        """On a cluster: send first what lies in another slot than the delivery.

        It is recognised there if this settlement comes again; and not sent at all if the
        delivery has been settled by somebody else.
        """
        slot = self._client.topology.slot
        for s in following:
            home = self._slot(s.delivery.queue)
            away = [item for item in routed[id(s)] if slot(item[1].base) != home]
            if not away:
                continue
            routed[id(s)] = [item for item in routed[id(s)] if item not in away]
            if s.acknowledged or await self._is_open(s.delivery):
                for item in away:
                    attempt = Attempt(secrets.token_hex(6), "")
                    await self._client.calls(*enqueue_calls(attempt, [item]))

    async def _is_open(self, delivery: Delivery) -> bool:
        priority, entry = delivery.tag
        stream = self._layout.queue(delivery.queue).streams[priority]
        (rows,) = await self._client.calls(command(stream, "XRANGE", stream, entry, entry))
        return bool(rows)
