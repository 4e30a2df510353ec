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

from taskq.backends.redis.ears import Commands, Ear, Ears, News
from taskq.exceptions import OperationalError

if TYPE_CHECKING:
    from taskq.stores.redis import RedisStore
    from taskq.stores.redis.client import Link

_ERRORS = (redis_errors.RedisError, OperationalError, OSError)
_PAUSE = 0.05
"""Seconds after a failed attempt to connect, before the next one."""


class Listener:
    """The one connection that owns the waiting in this process.

    Args:
        store: where to connect.
    """

    def __init__(self, store: RedisStore) -> None:
        self._store = store
        # Guards all that follows; told whenever something has changed.
        self._changed = threading.Condition()
        self._ears = Ears(looks=not store.address.cluster)
        self._reading = False
        self._link: Link | None = None

    @contextmanager
    def listening(self, channels: Iterable[str]) -> Iterator[Ear]:
        """Listen to channels until the end of the block."""
        ear = Ear(channels)
        with self._changed:
            self._ears.join(ear)
            if self._link is not None:
                self._say(self._link, self._ears.begin([ear]))
        try:
            yield ear
        finally:
            with self._changed:
                if self._ears.leave(ear) and self._link is not None:
                    self._say(self._link, self._ears.begin([]))

    def _say(self, link: Link, commands: Commands) -> None:
        try:
            link.send(commands)
        except _ERRORS:
            self._hang_up()

    def hear(self, ear: Ear, timeout: float) -> News:
        """Wait for news, and read the connection for all if nobody else does.

        Returns:
            The news; none if the time is over, or if something may have been missed.
        """
        deadline = time.monotonic() + timeout
        with self._changed:
            while not (ear.news or ear.missed):
                left = deadline - time.monotonic()
                if left <= 0:
                    break
                if self._reading:
                    self._changed.wait(left)
                    continue
                self._reading = True
                try:
                    self._read(left)
                finally:
                    self._reading = False
                    self._changed.notify_all()
            return ear.read()

    def _read(self, timeout: float) -> None:
        """Read what comes first; the lock is not held while waiting for it."""
        try:
            link = self._link
            if link is None:
                link = self._link = self._store.open_listener()
                link.send(self._ears.begin_anew())
            self._changed.release()
            try:
                ready = link.readable(timeout)
                reply = link.read_any() if ready else None
            finally:
                self._changed.acquire()
            if ready and link is self._link:
                self._ears.take(reply)
        except _ERRORS:
            self._hang_up()
            self._changed.wait(min(timeout, _PAUSE))

    def _hang_up(self) -> None:
        link, self._link = self._link, None
        self._ears.lost()
        if link is not None:
            link.close()

    def close(self) -> None:
        """Let go of the connection."""
        with self._changed:
            self._hang_up()
