"""Redis, or Valkey in its place."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.servers.base import HOST, Server, find_binary, free_ports, private_folder


class RedisServer(Server):
    """Redis or Valkey, without a password.

    Args:
        directory: a private folder.
        port: for clients.
        persist: write every command to disk before answering, so that a restart keeps the data;
            without it nothing is written and a restart begins empty.
        arguments: more of the command line, for example ``["--maxmemory", "2mb"]``.
    """

    name = "redis-server"

    def __init__(
        self, directory: Path, port: int, *, persist: bool = False, arguments: Sequence[str] = ()
    ) -> None:
        super().__init__(directory, port)
        self.persist = persist
        self.arguments = arguments

    @property
    def url(self) -> str:
        return f"redis://{HOST}:{self.port}/0"

    def command(self) -> Sequence[str]:
        command = [redis_binary(), "--port", str(self.port), "--bind", HOST]
        command += ["--dir", str(self.directory), "--daemonize", "no", "--save", ""]
        if self.persist:
            command += ["--appendonly", "yes", "--appendfsync", "always"]
        return [*command, *self.arguments]

    def answers(self) -> bool:
        try:
            return self.call("PING", timeout=1.0) == b"+PONG\r\n"
        except OSError:
            return False

    def call(self, *words: str, timeout: float = 5.0) -> bytes:
        """Send one command over a connection of its own; return the start of the raw reply.

        For what a test does to the server (``FLUSHALL``, ``CONFIG SET ...``), without a client
        library. Replies above 64 KiB are cut.

        Raises:
            OSError: no answer within ``timeout`` seconds.
        """
        with socket.create_connection((HOST, self.port), timeout=timeout) as connection:
            parts = [b"$%d\r\n%s\r\n" % (len(word), word) for word in map(str.encode, words)]
            connection.sendall(b"*%d\r\n%s" % (len(parts), b"".join(parts)))
            return connection.recv(65_536)


@contextlib.contextmanager
def redis_server(*, persist: bool = False, arguments: Sequence[str] = ()) -> Iterator[RedisServer]:
    """A running Redis until the end of the block; see ``RedisServer`` for the arguments.

    Raises:
        MissingServerError: it is not installed.
        ServerError: it did not start.
    """
    redis_binary()
    with private_folder("redis") as directory:
        (port,) = free_ports(1)
        server = RedisServer(directory, port, persist=persist, arguments=arguments)
        try:
            server.start()
            yield server
        finally:
            server.kill()


def redis_binary() -> str:
    """The path of ``redis-server`` or ``valkey-server``.

    Raises:
        MissingServerError: neither is on PATH.
    """
    return find_binary("redis-server", "valkey-server")
