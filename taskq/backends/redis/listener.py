"""Waiting for results in threads: one connection, however many wait.

Whoever waits and finds nobody reading the connection reads it, for all; the others sleep.
So a single waiter, the usual case, is told without a change of threads, and there is no
thread in the background that a fork would lose.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import redis.exceptions as redis_errors
from hiredis import PushNotification

from taskq.exceptions import OperationalError

if TYPE_CHECKING:
    from taskq.stores.redis import RedisStore
    from taskq.stores.redis.client import Link

_ERRORS = (redis_errors.RedisError, OperationalError, OSError)
_LEFT = 100
"""Channels that nobody listens to any more, and that are still subscribed to, at most."""
_PAUSE = 0.05
"""Seconds after a failed attempt to connect, before the next one."""


class Ear:
    """One waiter.

    Attributes:
        channels: what it listens to.
        news: what it has been told and not read yet: channel and message.  What was there
            before counts as told.
        missed: something may have been told that it has not heard: it must look for itself.
    """

    def __init__(self, listener: Listener, channels: Iterable[str]) -> None:
        self._listener = listener
        self.channels = tuple(channels)
        self.news: list[tuple[str, bytes]] = []
        self.missed = False

    def hear(self, timeout: float) -> list[tuple[str, bytes]]:
        """Wait for news; none if the time is over, or if something may have been missed."""
        self._listener.wait(lambda: self.news or self.missed, timeout)
        news, self.news, self.missed = self.news, [], False
        return news


class Listener:
    """The one connection that owns the waiting in this process.

    It speaks RESP3, in which a connection that listens can ask as well: whoever begins to
    listen subscribes and looks with the same packet, in this order.

    Args:
        store: where to connect.
    """

    def __init__(self, store: RedisStore) -> None:
        self._store = store
        # On a cluster this connection does not reach every key: there, whoever listens must
        # look for itself once it listens.
        self._looks = not store.address.cluster
        # Guards all that follows; told whenever something has changed.
        self._changed = threading.Condition()
        self._reading = False
        self._link: Link | None = None
        self._ears: dict[str, set[Ear]] = {}
        self._asked: deque[tuple[Ear, str | None]] = deque()
        self._left: list[str] = []

    @contextmanager
    def listening(self, channels: Iterable[str]) -> Iterator[Ear]:
        """Listen to channels until the end of the block."""
        ear = Ear(self, channels)
        with self._changed:
            for channel in ear.channels:
                self._ears.setdefault(channel, set()).add(ear)
            self._begin([ear])
        try:
            yield ear
        finally:
            with self._changed:
                self._leave(ear)

    def _begin(self, ears: Iterable[Ear]) -> None:
        """Subscribe and look; without a connection that is done when there is one."""
        if self._link is None:
            self._left.clear()
            return
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
        self._send(commands)

    def _leave(self, ear: Ear) -> None:
        """Unsubscribe: with the next packet, for nobody waits for it, or when many are left."""
        for channel in ear.channels:
            ears = self._ears[channel]
            ears.discard(ear)
            if not ears:
                del self._ears[channel]
                self._left.append(channel)
        if len(self._left) > _LEFT:
            self._begin([])

    def _send(self, commands: list[tuple[str, ...]]) -> None:
        assert self._link is not None
        try:
            self._link.send(commands)
        except _ERRORS:
            self._hang_up()

    def wait(self, condition: Callable[[], object], timeout: float) -> bool:
        """Wait for a condition, and read the connection if nobody else does."""
        deadline = time.monotonic() + timeout
        with self._changed:
            while not condition():
                left = deadline - time.monotonic()
                if left <= 0:
                    return False
                if self._reading:
                    self._changed.wait(left)
                    continue
                self._reading = True
                try:
                    self._read(left)
                finally:
                    self._reading = False
                    self._changed.notify_all()
        return True

    def _read(self, timeout: float) -> None:
        """Read what comes first; the lock is not held while waiting for it."""
        try:
            if self._link is None:
                self._link = self._store.open_listener()
                self._begin({ear for ears in self._ears.values() for ear in ears})
            link = self._link
            if link is None:
                raise OSError("the connection was lost at once")
            self._changed.release()
            try:
                ready = link.readable(timeout)
                reply = link.read_any() if ready else None
            finally:
                self._changed.acquire()
            if ready and link is self._link:
                self._take(reply)
        except _ERRORS:
            self._hang_up()
            self._changed.wait(min(timeout, _PAUSE))

    def _take(self, reply: Any) -> None:
        if isinstance(reply, PushNotification):
            if reply[0] == b"message":
                channel = reply[1].decode()
                for ear in self._ears.get(channel, ()):
                    ear.news.append((channel, reply[2]))
            return
        ear, asked = self._asked.popleft()
        if asked is None:
            ear.missed = True
        elif reply is not None:
            ear.news.append((asked, reply))

    def _hang_up(self) -> None:
        """The connection is of no more use: what is told now is missed."""
        link, self._link = self._link, None
        self._asked.clear()
        self._left.clear()
        for ears in self._ears.values():
            for ear in ears:
                ear.missed = True
        if link is not None:
            link.close()

    def close(self) -> None:
        """Let go of the connection."""
        with self._changed:
            self._hang_up()
