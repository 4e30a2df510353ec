"""memcached."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Iterator, Sequence

from tests.servers.base import HOST, Server, find_binary, free_ports, private_folder
from tests.servers.unprivileged import USER


class MemcachedServer(Server):
    """memcached, by TCP on the loopback address."""

    name = "memcached"

    @property
    def url(self) -> str:
        return f"cache+memcached://{HOST}:{self.port}/"

    def command(self) -> Sequence[str]:
        user = ["-u", USER] if os.geteuid() == 0 else []
        listening = ["-l", HOST, "-p", str(self.port), "-U", "0"]
        return [memcached_binary(), *user, *listening, "-m", "64", "-I", "16m"]

    def answers(self) -> bool:
        try:
            return self.call("version").startswith(b"VERSION")
        except OSError:
            return False

    def call(self, line: str) -> bytes:
        """Send one line over a connection of its own; return the start of the answer.

        Raises:
            OSError: no answer within a second.
        """
        with socket.create_connection((HOST, self.port), timeout=1.0) as connection:
            connection.sendall(line.encode() + b"\r\n")
            return connection.recv(65536)


@contextlib.contextmanager
def memcached_server() -> Iterator[MemcachedServer]:
    """A running memcached until the end of the block.

    Raises:
        MissingServerError: it is not installed.
        ServerError: it did not start.
    """
    memcached_binary()
    with private_folder("memcached") as directory:
        (port,) = free_ports(1)
        server = MemcachedServer(directory, port)
        try:
            server.start()
            yield server
        finally:
            server.kill()


def memcached_binary() -> str:
    """The path of ``memcached``.

    Raises:
        MissingServerError: it is not on PATH.
    """
    return find_binary("memcached")
