"""The replies of one connection, as the event loop reads them.

redis-py makes the connection: addresses, TLS, who we are.  From then on its transport is
ours, since between the bytes and whoever waits for them redis-py has a stream, a parser and
several coroutines, which together take longer than Redis does.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any

import redis.exceptions as redis_errors
from hiredis import Reader

_NOTHING = object()
_MUCH = 10_000
"""Replies that wait to be read, from which on no more are taken from the network."""


class Wire(asyncio.Protocol):
    """Reads replies, for one reader at a time.

    Args:
        connection: redis-py's, which has just connected; what it says from now on goes by here.

    Attributes:
        heard: called when a reply has come, or the connection is lost, while nobody waits
            in `read`.
        closed: done once the transport is.
    """

    def __init__(self, connection: Any) -> None:
        self._transport: asyncio.Transport = connection._writer.transport
        self._parser: Any = Reader(
            protocolError=redis_errors.InvalidResponse,
            replyError=connection._parser.parse_error,
            notEnoughData=_NOTHING,
        )
        self._loop = asyncio.get_running_loop()
        self._replies: deque[Any] = deque()
        self._error: Exception | None = None
        self._waiting: asyncio.Future[None] | None = None
        self._is_paused = False
        self.heard: Callable[[], None] | None = None
        self.closed: asyncio.Future[None] = self._loop.create_future()
        self._transport.set_protocol(self)

    # What the transport tells

    def data_received(self, data: bytes) -> None:
        """Take the replies that these bytes complete."""
        parser, replies = self._parser, self._replies
        try:
            parser.feed(data)
            while (reply := parser.gets()) is not _NOTHING:
                replies.append(reply)
        except redis_errors.RedisError as exc:  # no protocol that we know
            self._error = exc
            self._transport.abort()
        if len(replies) > _MUCH and not self._is_paused:
            self._is_paused = True
            self._transport.pause_reading()
        if self.can_read:
            self._wake()

    def connection_lost(self, exc: Exception | None) -> None:
        """Whoever waits is told."""
        text = f"the connection is lost: {exc}" if exc else "the server has hung up"
        self._error = self._error or redis_errors.ConnectionError(text)
        if not self.closed.done():
            self.closed.set_result(None)
        self._wake()

    def _wake(self) -> None:
        waiting = self._waiting
        if waiting is not None:
            if not waiting.done():
                waiting.set_result(None)
        elif self.heard is not None:
            self.heard()

    # What its owner asks and says

    def hang_up(self, politely: bool) -> None:
        """Close the connection; whoever reads is told at once.

        Args:
            politely: let it say what is still to be said, as TLS has it.
        """
        self._error = self._error or redis_errors.ConnectionError("the connection is closed")
        if politely:
            self._transport.close()
        else:
            self._transport.abort()
        self._wake()

    @property
    def is_open(self) -> bool:
        """Can something be said?"""
        return self._error is None and not self._transport.is_closing()

    @property
    def can_read(self) -> bool:
        """Does `read` return, or raise, at once?"""
        return bool(self._replies) or self._error is not None

    def write(self, data: bytes) -> None:
        """Say something.

        Raises:
            redis.exceptions.ConnectionError: the connection is lost.
        """
        if not self.is_open:
            raise self._error or redis_errors.ConnectionError("the connection is closed")
        self._transport.write(data)

    async def wait(self, timeout: float | None = None) -> None:
        """Wait until there is something to read, for `timeout` seconds at most."""
        if self.can_read:
            return
        waiting = self._waiting = self._loop.create_future()
        timer = None if timeout is None else self._loop.call_later(timeout, self._wake)
        try:
            await waiting
        finally:
            self._waiting = None
            if timer is not None:
                timer.cancel()

    async def read(self) -> Any:
        """The next reply; errors that the server answers are returned like others.

        Raises:
            redis.exceptions.RedisError: the connection is lost.
        """
        while not self._replies:
            if self._error is not None:
                raise self._error
            await self.wait()
        reply = self._replies.popleft()
        if self._is_paused and not self._replies:
            self._is_paused = False
            self._transport.resume_reading()
        return reply
