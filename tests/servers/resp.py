"""As much of Redis' protocol (RESP2) as tests need to govern a server without a client library."""

from __future__ import annotations

import socket
from typing import Any

from tests.servers.base import ServerError


class ReplyError(ServerError):
    """A server answered a command with an error; the message is the server's."""


class Conversation:
    """Commands and replies over one connection, which it closes at the end of its block.

    Args:
        connection: to the server; its time-out holds for each reply.
    """

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._replies = connection.makefile("rb")

    def __enter__(self) -> Conversation:
        return self

    def __exit__(self, *_: object) -> None:
        self._replies.close()
        self._connection.close()

    def call(self, *words: str) -> bytes:
        """Send one command; return the start of the raw reply, 64 KiB at most."""
        self._send(words)
        return self._replies.read1(65_536)

    def ask(self, *words: str) -> Any:
        """Send one command; return its reply: bytes, a number, None, or a list of such.

        Raises:
            ReplyError: the reply is an error.
            OSError: there is no reply, or not in time.
        """
        self._send(words)
        return self._read()

    def _send(self, words: tuple[str, ...]) -> None:
        parts = [b"$%d\r\n%s\r\n" % (len(word), word) for word in map(str.encode, words)]
        self._connection.sendall(b"*%d\r\n%s" % (len(parts), b"".join(parts)))

    def _read(self) -> Any:
        line = self._whole(self._replies.readline())
        kind, rest = line[:1], line[1:]
        if kind == b"+":
            return rest
        if kind == b"-":
            raise ReplyError(rest.decode())
        number = int(rest)
        if kind == b":":
            return number
        if number < 0:
            return None
        if kind == b"*":
            return [self._read() for _ in range(number)]
        return self._whole(self._replies.read(number + 2))

    def _whole(self, part: bytes) -> bytes:
        if not part.endswith(b"\r\n"):
            raise ConnectionError("the server hung up within a reply")
        return part[:-2]
