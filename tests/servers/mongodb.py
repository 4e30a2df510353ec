"""MongoDB, where there is one: Debian and Ubuntu have no package of it."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator, Sequence

from tests.servers.base import (
    HOST,
    MissingServerError,
    Server,
    find_binary,
    free_ports,
    private_folder,
)


class MongoDBServer(Server):
    """MongoDB without users, by TCP on the loopback address."""

    name = "mongod"

    @property
    def url(self) -> str:
        return f"mongodb://{HOST}:{self.port}/"

    def command(self) -> Sequence[str]:
        listening = ["--bind_ip", HOST, "--port", str(self.port), "--nounixsocket"]
        return [mongodb_binary(), *listening, "--dbpath", str(self.directory)]

    def answers(self) -> bool:
        try:
            with socket.create_connection((HOST, self.port), timeout=1.0):
                return True
        except OSError:
            return False


@contextlib.contextmanager
def mongodb_server() -> Iterator[MongoDBServer]:
    """A running MongoDB until the end of the block.

    Raises:
        MissingServerError: it is not installed.
        ServerError: it did not start.
    """
    mongodb_binary()
    with private_folder("mongodb") as directory:
        (port,) = free_ports(1)
        server = MongoDBServer(directory, port)
        try:
            server.start()
            yield server
        finally:
            server.kill()


def mongodb_binary() -> str:
    """The path of ``mongod``.

    Raises:
        MissingServerError: it is not on PATH.
    """
    try:
        return find_binary("mongod")
    except MissingServerError:
        raise MissingServerError(
            "mongod is not on PATH: https://www.mongodb.com/docs/manual/installation/"
        ) from None
