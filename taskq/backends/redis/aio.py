"""Waiting for results on an event loop: one connection, however many wait."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from hiredis import PushNotification

from taskq.exceptions import OperationalError
from taskq.stores.redis.aio import LINK_ERRORS, LoopLink

if TYPE_CHECKING:
    from taskq.stores.redis.aio import LoopClient

_LEFT = 100
"""Channels that nobody listens to any more, and that are still subscribed to, at most."""
_PAUSE = 0.05
"""Seconds after a failed attempt to connect, before the next one."""


class LoopEar:
    """One waiter.

    Attributes:
        channels: what it listens to.
        news: what it has been told and not read yet: channel and message.  What was there
            before counts as told.
        missed: something may have been told that it has not heard: it must look for itself.
        changed: set when one of these has changed.
    """

    def __init__(self, channels: Iterable[str]) -> None:
        self.channels = tuple(channels)
        self.news: list[tuple[str, bytes]] = []
        self.missed = False
        self.changed = asyncio.Event()

    async def hear(self, timeout: float) -> list[tuple[str, bytes]]:
        """Wait for news; none if the time is over, or if something may have been missed."""
        try:
            async with asyncio.timeout(timeout):
                while not (self.news or self.missed):
                    self.changed.clear()
                    await self.changed.wait()
        except TimeoutError:
            pass
        news, self.news, self.missed = self.news, [], False
        return news


class LoopListener:
    """The one connection that owns the waiting on a loop, until that ends.

    It speaks RESP3, as `taskq.backends.redis.listener.Listener` does.

    Args:
        client: connects.
        ended: called when the loop ends.
    """

    def __init__(self, client: LoopClient, ended: Callable[[], object]) -> None:
        self._client = client
        self._ended = ended
        self._looks = not client.address.cluster
        self._link: LoopLink | None = None
        self._ears: dict[str, set[LoopEar]] = {}
        self._asked: deque[tuple[LoopEar, str | None]] = deque()
        self._left: list[str] = []
        self._reader: asyncio.Task[None] | None = None

    @asynccontextmanager
    async def listening(self, channels: Iterable[str]) -> AsyncIterator[LoopEar]:
        """Listen to channels until the end of the block."""
        ear = LoopEar(channels)
        for channel in ear.channels:
            self._ears.setdefault(channel, set()).add(ear)
        if self._reader is None or self._reader.done():
            self._reader = asyncio.get_running_loop().create_task(self._read())
        try:
            if self._link is not None:
                await self._begin(self._link, [ear])
            yield ear
        finally:
            await self._leave(ear)

    async def _begin(self, link: LoopLink, ears: Iterable[LoopEar]) -> None:
        """Subscribe and look."""
        commands: list[tuple[str, ...]] = []
        if self._left:
            commands.append(("UNSUBSCRIBE", *self._left))
            self._left.clear()
        for ear in ears:
            commands.append(("SUBSCRIBE", *ear.channels))
            if self._looks:
                commands += [("GET", channel) for channel in ear.channels]
                self._asked += [(ear, channel) for channel in ear.channels]
            else:
                commands.append(("PING",))  # its reply says that all before has been done
                self._asked.append((ear, None))
        await self._send(link, commands)

    async def _leave(self, ear: LoopEar) -> None:
        """Unsubscribe: with the next packet, for nobody waits for it, or when many are left."""
        for channel in ear.channels:
            ears = self._ears[channel]
            ears.discard(ear)
            if not ears:
                del self._ears[channel]
                self._left.append(channel)
        if len(self._left) > _LEFT and self._link is not None:
            await self._begin(self._link, [])

    async def _send(self, link: LoopLink, commands: list[tuple[str, ...]]) -> None:
        try:
            await link.send(commands)
        except LINK_ERRORS:
            pass  # the reader sees it too, and begins anew

    async def _read(self) -> None:
        """Read what comes, until the loop ends."""
        try:
            while True:
                try:
                    if self._link is None:
                        await self._connect()
                    assert self._link is not None
                    self._take(await self._link.read_any())
                except (*LINK_ERRORS, OperationalError):
                    await self._hang_up()
                    await asyncio.sleep(_PAUSE)
        finally:
            await self._hang_up()
            self._ended()

    async def _connect(self) -> None:
        link = await self._client.open(protocol=3)
        self._client.keep(link)
        self._link = link
        ears = {ear for ears in self._ears.values() for ear in ears}
        if ears:
            await self._begin(link, ears)

    def _take(self, reply: Any) -> None:
        if isinstance(reply, PushNotification):
            if reply[0] == b"message":
                channel = reply[1].decode()
                for ear in self._ears.get(channel, ()):
                    ear.news.append((channel, reply[2]))
                    ear.changed.set()
            return
        ear, asked = self._asked.popleft()
        if asked is None:
            ear.missed = True
        elif reply is not None:
            ear.news.append((asked, reply))
        ear.changed.set()

    async def _hang_up(self) -> None:
        """The connection is of no more use: what is told now is missed."""
        link, self._link = self._link, None
        self._asked.clear()
        self._left.clear()
        for ears in self._ears.values():
            for ear in ears:
                ear.missed = True
                ear.changed.set()
        if link is not None:
            self._client.let_go(link)
            await link.close()
