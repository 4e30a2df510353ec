"""Waiting for results on an event loop: one connection, however many wait."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from taskq.backends.redis.ears import Commands, Ear, Ears, News
from taskq.exceptions import OperationalError
from taskq.stores.redis.aio import LINK_ERRORS, LoopLink

if TYPE_CHECKING:
    from taskq.stores.redis.aio import LoopClient

_PAUSE = 0.05
"""Seconds after a failed attempt to connect, before the next one."""


class LoopEar(Ear):
    """One waiter on the loop."""

    def __init__(self, channels: Iterable[str]) -> None:
        super().__init__(channels)
        self._event = asyncio.Event()

    def changed(self) -> None:
        """Wake it."""
        self._event.set()

    async def hear(self, timeout: float) -> News:
        """Wait for news; none if the time is over, or if something may have been missed."""
        try:
            async with asyncio.timeout(timeout):
                while not (self.news or self.missed):
                    self._event.clear()
                    await self._event.wait()
        except TimeoutError:
            pass
        return self.read()


class LoopListener:
    """The one connection that owns the waiting on a loop, until that ends.

    Args:
        client: connects.
        ended: called when the loop ends.
    """

    def __init__(self, client: LoopClient, ended: Callable[[], object]) -> None:
        self._client = client
        self._ended = ended
        self._ears = Ears(looks=not client.address.cluster)
        self._link: LoopLink | None = None
        self._reader: asyncio.Task[None] | None = None

    @asynccontextmanager
    async def listening(self, channels: Iterable[str]) -> AsyncIterator[LoopEar]:
        """Listen to channels until the end of the block."""
        ear = LoopEar(channels)
        self._ears.join(ear)
        if self._reader is None or self._reader.done():
            self._reader = asyncio.get_running_loop().create_task(self._read())
        try:
            if self._link is not None:
                self._say(self._link, self._ears.begin([ear]))
            yield ear
        finally:
            if self._ears.leave(ear) and self._link is not None:
                self._say(self._link, self._ears.begin([]))

    def _say(self, link: LoopLink, commands: Commands) -> None:
        try:
            link.send(commands)
        except LINK_ERRORS:
            pass  # the reader sees it too, and begins anew

    async def _read(self) -> None:
        """Read what comes, until the loop ends."""
        try:
            while True:
                try:
                    link = self._link or await self._connect()
                    self._ears.take(await link.read_any())
                except (*LINK_ERRORS, OperationalError):
                    await self._hang_up()
                    await asyncio.sleep(_PAUSE)
        finally:
            await self._hang_up()
            self._ended()

    async def _connect(self) -> LoopLink:
        link = self._link = await self._client.open(protocol=3)
        self._client.keep(link)
        if commands := self._ears.begin_anew():
            link.send(commands)
        return link

    async def _hang_up(self) -> None:
        link, self._link = self._link, None
        self._ears.lost()
        if link is not None:
            self._client.let_go(link)
            await link.close()
