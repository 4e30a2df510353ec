"""Who listens for which results, and what is to be said to Redis for it; without any I/O.

The connection speaks RESP3, in which one that listens can ask as well: whoever begins to
listen subscribes and looks with the same packet, in this order, so that nothing falls in
between.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import Any

from hiredis import PushNotification

Commands = list[tuple[str, ...]]
News = list[tuple[str, bytes]]
"""Channels and what was told on them."""

_LEFT = 100
"""Channels that nobody listens to any more, and that are still subscribed to, at most."""


class Ear:
    """One waiter.

    Attributes:
        channels: what it listens to.
        news: what it has been told and not read yet.  What was there before counts as told.
        missed: something may have been told that it has not heard: it must look for itself.
    """

    def __init__(self, channels: Iterable[str]) -> None:
        self.channels = tuple(channels)
        self.news: News = []
        self.missed = False

    def changed(self) -> None:
        """Called when there is news, or something may have been missed."""

    def read(self) -> News:
        """The news, which are read with it."""
        news, self.news, self.missed = self.news, [], False
        return news


class Ears:
    """All waiters of one connection.

    Args:
        looks: the connection reaches every key.  On a cluster it does not: there, whoever
            listens must look for itself once it listens.
    """

    def __init__(self, looks: bool) -> None:
        self._looks = looks
        self._by_channel: dict[str, set[Ear]] = {}
        self._asked: deque[tuple[Ear, str | None]] = deque()
        self._left: list[str] = []

    def join(self, ear: Ear) -> None:
        """Take one in."""
        for channel in ear.channels:
            self._by_channel.setdefault(channel, set()).add(ear)

    def leave(self, ear: Ear) -> bool:
        """Let one go; tells whether it is time to say so.

        Nobody waits for that: it goes out with the next packet, or when many have left.
        """
        for channel in ear.channels:
            others = self._by_channel[channel]
            others.discard(ear)
            if not others:
                del self._by_channel[channel]
                self._left.append(channel)
        return len(self._left) > _LEFT

    def begin(self, ears: Iterable[Ear]) -> Commands:
        """What to say for some that begin to listen, and for those that have left."""
        commands: Commands = []
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
        return commands

    def begin_anew(self) -> Commands:
        """What to say on a new connection."""
        self._left.clear()
        return self.begin({ear for ears in self._by_channel.values() for ear in ears})

    def take(self, reply: Any) -> None:
        """Pass on what was told, or the answer to a question."""
        if isinstance(reply, PushNotification):
            if reply[0] == b"message":
                channel = reply[1].decode()
                for ear in self._by_channel.get(channel, ()):
                    ear.news.append((channel, reply[2]))
                    ear.changed()
            return
        ear, channel = self._asked.popleft()
        if channel is None:
            ear.missed = True
        elif isinstance(reply, bytes):
            ear.news.append((channel, reply))
        ear.changed()

    def lost(self) -> None:
        """The connection is of no more use: what is told now is missed."""
        self._asked.clear()
        for ears in self._by_channel.values():
            for ear in ears:
                ear.missed = True
                ear.changed()
