"""Waiting for results on an event loop: one connection, however many wait."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from taskq.exceptions import OperationalError
from taskq.stores.redis.aio import LINK_ERRORS, LoopLink

if TYPE_CHECKING:
    from taskq.stores.redis.aio import LoopClient

_PAUSE = 0.05
"""Seconds after a failed attempt to connect, before the next one."""


class LoopEar:
    """One waiter.

    Attributes:
        channels: what it listens to.
        news: what it has been told and not read yet: channel and message.
        changed: set when there is news, or when it is subscribed or not any more.
    """

    def __init__(self, listener: LoopListener, channels: Iterable[str]) -> None:
        self._listener = listener
        self.channels = frozenset(channels)
        self.news: list[tuple[str, bytes]] = []
        self.changed = asyncio.Event()

    async def subscribed(self, timeout: float) -> bool:
        """Wait until nothing that is told from now on is missed; False if the time is over."""
        try:
            async with asyncio.timeout(timeout):
                while not self._listener.covers(self):
                    self.changed.clear()
                    await self.changed.wait()
        except TimeoutError:
            return False
        return True

    async def hear(self, timeout: float) -> list[tuple[str, bytes]]:
        """Wait for news; none if the time is over, or if something may have been missed."""
        try:
            async with asyncio.timeout(timeout):
                while not self.news and self._listener.covers(self):
                    self.changed.clear()
                    await self.changed.wait()
        except TimeoutError:
            pass
        news, self.news = self.news, []
        return news


class LoopListener:
    """The one connection that owns the waiting on a loop, until that ends.

    Args:
        client: connects.
        ended: called when the loop ends.
    """

    def __init__(self, client: LoopClient, ended: Callable[[], object]) -> None:
        self._client = client
        self._ended = ended
        self._link: LoopLink | None = None
        self._ears: dict[str, set[LoopEar]] = {}
        self._confirmed: set[str] = set()
        self._reader: asyncio.Task[None] | None = None

    @asynccontextmanager
    async def listening(self, channels: Iterable[str]) -> AsyncIterator[LoopEar]:
        """Listen to channels until the end of the block."""
        ear = LoopEar(self, channels)
        new = [channel for channel in ear.channels if channel not in self._ears]
        for channel in ear.channels:
            self._ears.setdefault(channel, set()).add(ear)
        if self._reader is None or self._reader.done():
            self._reader = asyncio.get_running_loop().create_task(self._read())
        try:
            await self._say("SUBSCRIBE", new)
            yield ear
        finally:
            await self._leave(ear)

    async def _leave(self, ear: LoopEar) -> None:
        left = []
        for channel in ear.channels:
            ears = self._ears[channel]
            ears.discard(ear)
            if not ears:
                del self._ears[channel]
                left.append(channel)
        self._confirmed.difference_update(left)
        await self._say("UNSUBSCRIBE", left)

    async def _say(self, verb: str, channels: list[str]) -> None:
        """Subscribe or unsubscribe; without a connection that is done when there is one."""
        if self._link is not None and channels:
            try:
                await self._link.send([(verb, *channels)])
            except LINK_ERRORS:
                pass  # the reader sees it too, and begins anew

    def covers(self, ear: LoopEar) -> bool:
        """Are all of its channels subscribed to?"""
        return self._confirmed.issuperset(ear.channels)

    async def _read(self) -> None:
        """Read what comes, until the loop ends."""
        try:
            while True:
                try:
                    if self._link is None:
                        await self._connect()
                    assert self._link is not None
                    self._take(await self._link.read())
                except (*LINK_ERRORS, OperationalError):
                    await self._hang_up()
                    await asyncio.sleep(_PAUSE)
        finally:
            await self._hang_up()
            self._ended()

    async def _connect(self) -> None:
        link = await self._client.open(next(iter(self._ears), ""))
        self._client.keep(link)
        if self._ears:
            await link.send([("SUBSCRIBE", *self._ears)])
        self._link = link

    def _take(self, reply: object) -> None:
        if isinstance(reply, Exception):
            raise reply
        if not isinstance(reply, list):
            return
        kind, channel = reply[0], reply[1].decode()
        ears = self._ears.get(channel, ())
        if kind == b"message":
            for ear in ears:
                ear.news.append((channel, reply[2]))
        elif kind == b"subscribe" and ears:
            self._confirmed.add(channel)
        for ear in ears:
            ear.changed.set()

    async def _hang_up(self) -> None:
        """The connection is of no more use: what is told now is missed."""
        link, self._link = self._link, None
        self._confirmed.clear()
        for ears in self._ears.values():
            for ear in ears:
                ear.changed.set()
        if link is not None:
            self._client.let_go(link)
            await link.close()
