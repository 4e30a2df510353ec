"""Being told that there is reason to look at the queues."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from taskq.exceptions import OperationalError
from taskq.stores.redis.aio import LINK_ERRORS

if TYPE_CHECKING:
    from taskq.stores.redis.aio import LoopClient

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
        self._told = asyncio.Event()
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

    @property
    def told(self) -> bool:
        """Has there been a wake-up since `clear`?"""
        return self._told.is_set()

    def clear(self) -> None:
        """Forget what was told: whoever calls is about to look."""
        self._told.clear()

    def tell(self) -> None:
        """Wake up."""
        self._told.set()

    async def wait_with(self, others: Iterable[asyncio.Task[Any]]) -> None:
        """Wait for a wake-up, or for one of these tasks."""
        told = asyncio.create_task(self._told.wait())
        try:
            await asyncio.wait([told, *others], return_when=asyncio.FIRST_COMPLETED)
        finally:
            told.cancel()

    async def _listen(self) -> None:
        while True:
            link = None
            try:
                link = await self._client.open(self._channels[0])
                self._client.keep(link)
                await link.send([("SUBSCRIBE", *self._channels)])
                for _ in self._channels:
                    await link.read()
                # Something may have been told while nobody listened.
                self._told.set()
                self._subscribed.set()
                while True:
                    reply = await link.read()
                    if isinstance(reply, Exception):
                        break
                    self._told.set()
            except (*LINK_ERRORS, OperationalError):
                pass  # the reads of the queues tell of it
            finally:
                if link is not None:
                    self._client.let_go(link)
                    await link.close()
            await asyncio.sleep(_PAUSE)

    async def close(self) -> None:
        """Stop listening."""
        if self._listening is not None:
            self._listening.cancel()
            await asyncio.wait([self._listening])
            self._listening = None
