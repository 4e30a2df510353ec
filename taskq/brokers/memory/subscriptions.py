"""Listening to what a `MemoryBroker` tells."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from taskq.brokers.notices import MAX_UNREAD, AsyncSubscription, Channel, Notice, Subscription

if TYPE_CHECKING:
    import asyncio


class MemorySubscription(Subscription):
    """Hears what a `MemoryBroker` tells."""

    def __init__(
        self, channel: Channel, keys: Sequence[str], closed: Callable[[object], None]
    ) -> None:
        self._channel = channel
        self._keys = keys
        self._closed = closed
        self._unread: deque[Notice] = deque(maxlen=MAX_UNREAD)
        self._changed = threading.Condition()

    def hear(self, notices: Sequence[Notice]) -> None:
        """Called by whoever tells, from any thread."""
        heard = _heard(notices, self._channel, self._keys)
        if heard:
            with self._changed:
                self._unread.extend(heard)
                self._changed.notify()

    def receive(self, timeout: float | None = None) -> list[Notice]:
        with self._changed:
            self._changed.wait_for(lambda: self._unread, timeout)
            notices = list(self._unread)
            self._unread.clear()
        return notices

    def close(self) -> None:
        self._closed(self)


class AsyncMemorySubscription(AsyncSubscription):
    """`MemorySubscription` on an event loop."""

    def __init__(
        self, channel: Channel, keys: Sequence[str], closed: Callable[[object], None]
    ) -> None:
        # asyncio is imported by those who use it: it doubles the time to import taskq.
        import asyncio

        self._channel = channel
        self._keys = keys
        self._closed = closed
        self._unread: deque[Notice] = deque(maxlen=MAX_UNREAD)
        self._changed = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop = asyncio.get_running_loop()

    def hear(self, notices: Sequence[Notice]) -> None:
        """Called by whoever tells, from any thread."""
        heard = _heard(notices, self._channel, self._keys)
        if not heard:
            return
        self._unread.extend(heard)
        try:
            self._loop.call_soon_threadsafe(self._changed.set)
        except RuntimeError:
            pass  # its event loop has been closed without closing the subscription

    async def receive(self) -> list[Notice]:
        while not self._unread:
            self._changed.clear()
            if not self._unread:
                await self._changed.wait()
        return [self._unread.popleft() for _ in range(len(self._unread))]

    async def close(self) -> None:
        self._closed(self)


def _heard(notices: Sequence[Notice], channel: Channel, keys: Sequence[str]) -> list[Notice]:
    return [n for n in notices if n.channel == channel and channel.reaches(keys, n.key)]
