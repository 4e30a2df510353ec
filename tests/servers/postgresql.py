"""PostgreSQL, as a user without privileges, and a database for each test."""

from __future__ import annotations

import contextlib
import itertools
import os
import pwd
import shutil
import signal
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.servers.base import (
    HOST,
    MissingServerError,
    Server,
    ServerError,
    find_binary,
    free_ports,
    private_folder,
)
from tests.servers.unprivileged import USER as UNPRIVILEGED
from tests.servers.unprivileged import unprivileged

USER = "taskq"
TEMPLATE = "template1"


class PostgreSQLServer(Server):
    """PostgreSQL, which lets everybody in by TCP on the loopback address.

    Nothing is written to the disk for certain: a server that is killed keeps what it has
    committed, a machine does not.

    Args:
        directory: a private folder.
        port: for clients.
        arguments: more of the command line, for example ``["-c", "max_connections=10"]``.
    """

    name = "postgres"

    def __init__(self, directory: Path, port: int, *, arguments: Sequence[str] = ()) -> None:
        super().__init__(directory, port)
        self.arguments = arguments
        self._numbers = itertools.count(1)

    @property
    def url(self) -> str:
        return self.url_of("postgres")

    def url_of(self, database: str) -> str:
        """Where a database is."""
        return f"postgresql://{USER}@{HOST}:{self.port}/{database}"

    @property
    def data(self) -> Path:
        """The folder of the cluster of databases."""
        return self.directory / "data"

    def command(self) -> Sequence[str]:
        command = [*unprivileged(), postgresql_binary("postgres"), "-D", str(self.data)]
        settings = {
            "listen_addresses": HOST,
            "port": self.port,
            "unix_socket_directories": "",
            "fsync": "off",
            "full_page_writes": "off",
            "synchronous_commit": "off",
            "shared_buffers": "32MB",
            "max_connections": 200,
        }
        for name, value in settings.items():
            command += ["-c", f"{name}={value}"]
        return [*command, *self.arguments]

    def launch(self) -> None:
        if not self.data.exists():
            self._make_cluster()
        super().launch()

    def _make_cluster(self) -> None:
        if os.geteuid() == 0:
            owner = pwd.getpwnam(UNPRIVILEGED)
            os.chown(self.directory, owner.pw_uid, owner.pw_gid)
        options = ["--no-sync", "--auth=trust", "--encoding=UTF8", "--locale=C", "-U", USER]
        made = subprocess.run(
            [*unprivileged(), postgresql_binary("initdb"), *options, "-D", str(self.data)],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            cwd=self.directory,
        )
        if made.returncode:
            raise ServerError(f"initdb failed:\n{made.stdout}{made.stderr}")

    def answers(self) -> bool:
        ready = subprocess.run(
            [postgresql_binary("pg_isready"), "-q", "-t", "1", "-d", self.url], check=False
        )
        return ready.returncode == 0

    def stop(self, timeout: float = 30.0) -> None:
        # By SIGTERM it would wait until every client has gone by itself.
        if self._guarded is None or self._guarded.end(signal.SIGINT, timeout):
            return
        self.kill()
        raise ServerError(f"{self.name} was killed: no end {timeout:g} s after SIGINT")

    def sql(self, statement: str, database: str = "postgres") -> str:
        """Run a statement; return what ``psql`` prints, columns separated by ``|``.

        Raises:
            ServerError: it failed.
        """
        command = [postgresql_binary("psql"), "-X", "-A", "-t", "-q", "-v", "ON_ERROR_STOP=1"]
        done = subprocess.run(
            [*command, "-d", self.url_of(database), "-c", statement],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise ServerError(f"{statement}: {done.stderr}")
        return done.stdout.strip()

    @contextlib.contextmanager
    def new_database(self, template: str = TEMPLATE) -> Iterator[str]:
        """The name of a database of one's own, made after a template, until the block's end."""
        name = f"test_{next(self._numbers)}"
        self.sql(f"CREATE DATABASE {name} TEMPLATE {template}")
        try:
            yield name
        finally:
            self.sql(f"DROP DATABASE {name} WITH (FORCE)")


@contextlib.contextmanager
def postgresql_server(*, arguments: Sequence[str] = ()) -> Iterator[PostgreSQLServer]:
    """A running PostgreSQL until the end of the block.

    Raises:
        MissingServerError: it is not installed.
        ServerError: it did not start.
    """
    postgresql_binary("postgres")
    with private_folder("postgresql") as directory:
        (port,) = free_ports(1)
        server = PostgreSQLServer(directory, port, arguments=arguments)
        try:
            server.start()
            yield server
        finally:
            server.kill()


def postgresql_binary(name: str = "postgres") -> str:
    """The path of a program of PostgreSQL, which Debian keeps off PATH.

    Raises:
        MissingServerError: it is not installed.
    """
    folders = sorted(
        Path("/usr/lib/postgresql").glob("*/bin"),
        key=lambda folder: float(folder.parent.name),
        reverse=True,
    )
    for folder in folders:
        if path := shutil.which(name, path=str(folder)):
            return path
    try:
        return find_binary(name)
    except MissingServerError as error:
        raise MissingServerError(f"{error} (package postgresql)") from None
