"""Waiting for results in threads: one connection, however many wait.

Whoever waits and finds nobody reading the connection reads it, for all; the others sleep.
So a single waiter, the usual case, is told without a change of threads, and there is no
thread in the background that a fork would lose.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import redis.exceptions as redis_errors

from taskq.exceptions import OperationalError

if TYPE_CHECKING:
    from taskq.stores.redis import RedisStore
    from taskq.stores.redis.client import Link

_ERRORS = (redis_errors.RedisError, OperationalError, OSError)
_PAUSE = 0.05
"""Seconds after a failed attempt to connect, before the next one."""


class Ear:
    """One waiter.

    Attributes:
        channels: what it listens to.
        news: what it has been told and not read yet: channel and message.
    """

    def __init__(self, listener: Listener, channels: Iterable[str]) -> None:
        self._listener = listener
        self.channels = frozenset(channels)
        self.news: list[tuple[str, bytes]] = []

    def subscribed(self, timeout: float) -> bool:
        """Wait until nothing that is told from now on is missed; False if the time is over."""
        return self._listener.wait(lambda: self._listener.covers(self), timeout)

    def hear(self, timeout: float) -> list[tuple[str, bytes]]:
        """Wait for news; none if the time is over, or if something may have been missed."""
        listener = self._listener
        listener.wait(lambda: self.news or not listener.covers(self), timeout)
        news, self.news = self.news, []
        return news


class Listener:
    """The one connection that owns the waiting in this process.

    Args:
        store: where to connect.
    """

    def __init__(self, store: RedisStore) -> None:
        self._store = store
        # Guards all that follows; told whenever something has changed.
        self._changed = threading.Condition()
        self._reading = False
        self._link: Link | None = None
        self._ears: dict[str, set[Ear]] = {}
        self._confirmed: set[str] = set()

    @contextmanager
    def listening(self, channels: Iterable[str]) -> Iterator[Ear]:
        """Listen to channels until the end of the block."""
        ear = Ear(self, channels)
        with self._changed:
            new = [channel for channel in ear.channels if channel not in self._ears]
            for channel in ear.channels:
                self._ears.setdefault(channel, set()).add(ear)
            self._say("SUBSCRIBE", new)
        try:
            yield ear
        finally:
            with self._changed:
                self._leave(ear)

    def _leave(self, ear: Ear) -> None:
        left = []
        for channel in ear.channels:
            ears = self._ears[channel]
            ears.discard(ear)
            if not ears:
                del self._ears[channel]
                left.append(channel)
        self._confirmed.difference_update(left)
        self._say("UNSUBSCRIBE", left)

    def _say(self, verb: str, channels: list[str]) -> None:
        """Subscribe or unsubscribe; without a connection that is done when there is one."""
        if self._link is None or not channels:
            return
        try:
            self._link.send([(verb, *channels)])
        except _ERRORS:
            self._hang_up()

    def covers(self, ear: Ear) -> bool:
        """Are all of its channels subscribed to?"""
        return self._confirmed.issuperset(ear.channels)

    def wait(self, condition: object, timeout: float) -> bool:
        """Wait for a condition, and read the connection if nobody else does."""
        assert callable(condition)
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
                self._connect()
            link = self._link
            assert link is not None
            self._changed.release()
            try:
                reply = link.read() if link.readable(timeout) else None
            finally:
                self._changed.acquire()
            if link is self._link:
                self._take(reply)
        except _ERRORS:
            self._hang_up()
            self._changed.wait(min(timeout, _PAUSE))

    def _connect(self) -> None:
        self._link = self._store.open(next(iter(self._ears), ""))
        self._say("SUBSCRIBE", list(self._ears))

    def _take(self, reply: object) -> None:
        if not isinstance(reply, list):
            if isinstance(reply, Exception):
                raise reply
            return
        kind, channel = reply[0], reply[1].decode()
        if kind == b"message":
            for ear in self._ears.get(channel, ()):
                ear.news.append((channel, reply[2]))
        elif kind == b"subscribe" and channel in self._ears:
            self._confirmed.add(channel)

    def _hang_up(self) -> None:
        """The connection is of no more use: what is told now is missed."""
        link, self._link = self._link, None
        self._confirmed.clear()
        if link is not None:
            link.close()

    def close(self) -> None:
        """Let go of the connection."""
        with self._changed:
            self._hang_up()
