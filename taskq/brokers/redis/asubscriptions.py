"""Listening to what is told, on an event loop."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Self

from taskq.brokers.notices import MAX_UNREAD, AsyncSubscription, Notice
from taskq.stores.redis.aio import LINK_ERRORS
from taskq.stores.redis.errors import explain

if TYPE_CHECKING:
    from taskq.brokers.redis.telling import Place
    from taskq.stores.redis.aio import LoopClient, LoopLink


class AsyncRedisSubscription(AsyncSubscription):
    """Listens over a connection of its own.

    Args:
        client: of the event loop.
        place: what to listen to.
    """

    def __init__(self, client: LoopClient, place: Place) -> None:
        self._client = client
        self._place = place
        self._unread: deque[Notice] = deque(maxlen=MAX_UNREAD)
        self._changed = asyncio.Event()
        self._silent = False
        self._link: LoopLink | None = None
        self._reading: asyncio.Task[None] | None = None
        self._error: Exception | None = None

    @classmethod
    async def open(cls, client: LoopClient, place: Place) -> Self:
        """Listen from now on.

        Raises:
            OperationalError: Redis cannot be reached.
        """
        subscription = cls(client, place)
        await subscription._connect()
        return subscription

    async def _connect(self) -> None:
        link = await self._client.open(protocol=3)
        self._client.keep(link)
        try:
            async with asyncio.timeout(self._patience):
                link.send([self._place.command])
                for _ in range(self._place.confirmations()):
                    await link.read_any()
        except BaseException as exc:
            await self._let_go(link)
            if isinstance(exc, LINK_ERRORS):
                raise explain(exc, self._client.address.shown) from exc
            raise
        self._link, self._error, self._silent = link, None, False
        # A task of its own reads, so that no call of `receive` is cancelled within a packet.
        self._reading = asyncio.create_task(self._read(link))

    @property
    def _patience(self) -> float | None:
        timeout: float | None = self._client.address.options.get("socket_timeout")
        return timeout

    async def _let_go(self, link: LoopLink) -> None:
        self._client.let_go(link)
        await link.close()

    async def _read(self, link: LoopLink) -> None:
        try:
            while True:
                heard = self._place.heard(await link.read_any())
                self._silent = False
                if heard:
                    self._unread.extend(heard)
                    self._changed.set()
        except LINK_ERRORS as exc:
            self._error = exc
        finally:
            self._changed.set()

    async def receive(self) -> list[Notice]:
        while not self._unread:
            if self._error is not None:
                error = explain(self._error, self._client.address.shown)
                await self.close()
                raise error
            if self._link is None:
                await self._connect()
            await self._wait()
        return [self._unread.popleft() for _ in range(len(self._unread))]

    async def _wait(self) -> None:
        """Wait for news; a network that loses packets tells nobody, so ask now and then."""
        self._changed.clear()
        if self._unread or self._error is not None:
            return
        try:
            async with asyncio.timeout(self._patience):
                await self._changed.wait()
        except TimeoutError:
            if self._silent:
                self._error = TimeoutError("no answer in time")
            elif self._link is not None:
                self._silent = True
                try:
                    self._link.send([("PING",)])
                except LINK_ERRORS as exc:
                    self._error = exc

    async def close(self) -> None:
        reading, self._reading = self._reading, None
        link, self._link = self._link, None
        self._error = None
        if reading is not None:
            reading.cancel()
            await asyncio.wait([reading])
        if link is not None:
            await self._let_go(link)
