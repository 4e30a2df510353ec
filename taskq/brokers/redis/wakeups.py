"""Being told that there is reason to look at the queues."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING

from taskq.exceptions import OperationalError
from taskq.stores.redis.aio import LINK_ERRORS

if TYPE_CHECKING:
    from taskq.stores.redis.aio import LoopClient, LoopLink

_PAUSE = 0.5
"""Seconds after a failed attempt to connect, before the next one."""


class WakeUps:
    """Listens on the channels of queues, over a connection of its own.

    Args:
        client: of the event loop.
        channels: what to listen to.
    """

    def __init__(self, client: LoopClient, channels: Sequence[str]) -> None:
        self._client = client
        self._channels = channels
        self._loop = asyncio.get_running_loop()
        self._told = False
        self._silent = False
        self._waiting: asyncio.Future[None] | None = None
        self._listening: asyncio.Task[None] | None = None
        self._subscribed = asyncio.Event()

    async def start(self) -> None:
        """Listen from now on."""
        if self._listening is None:
            self._listening = asyncio.create_task(self._listen())
            # What is told before is not missed: the first look comes after it.
            done = asyncio.create_task(self._subscribed.wait())
            await asyncio.wait([done], timeout=_PAUSE)
            done.cancel()

    def clear(self) -> bool:
        """Forget what was told: whoever calls is about to look; says whether there was any."""
        told, self._told = self._told, False
        return told

    def tell(self) -> None:
        """Wake up: there is reason to look."""
        self._told = True
        self.rouse()

    def rouse(self) -> None:
        """End the `wait` that is under way."""
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(None)

    async def wait(self) -> None:
        """Wait until somebody has told, or rouses."""
        if not self._told:
            self._waiting = self._loop.create_future()
            await self._waiting

    async def _listen(self) -> None:
        while True:
            link = watch = None
            try:
                link = await self._client.open(self._channels[0])
                self._client.keep(link)
                watch = asyncio.create_task(self._watch(link))
                link.send([("SUBSCRIBE", *self._channels)])
                for _ in self._channels:
                    await link.read()
                # Something may have been told while nobody listened.
                self.tell()
                self._subscribed.set()
                while True:
                    reply = await link.read()
                    if isinstance(reply, Exception):
                        break
                    self._silent = False
                    if reply[0] != b"pong":
                        self.tell()
            except (*LINK_ERRORS, OperationalError):
                pass  # the reads of the queues tell of it
            finally:
                if watch is not None:
                    watch.cancel()
                if link is not None:
                    self._client.let_go(link)
                    await link.close()
            await asyncio.sleep(_PAUSE)

    async def _watch(self, link: LoopLink) -> None:
        """Hang up when nothing comes though we ask: a network that loses packets tells nobody."""
        pause = self._client.address.options.get("socket_timeout")
        try:
            while pause:
                await asyncio.sleep(pause)
                self._silent = True
                link.send([("PING",)])
                await asyncio.sleep(pause)
                if self._silent:
                    await link.close()
                    return
        except LINK_ERRORS:
            pass  # whoever reads sees it too

    async def close(self) -> None:
        """Stop listening."""
        if self._listening is not None:
            self._listening.cancel()
            await asyncio.wait([self._listening])
            self._listening = None
