"""MariaDB, as a user without privileges, and a database for each test."""

from __future__ import annotations

import contextlib
import itertools
import os
import pwd
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.servers.base import HOST, Server, ServerError, find_binary, free_ports, private_folder
from tests.servers.unprivileged import USER, unprivileged

_LOGIN = ["--protocol=tcp", f"--host={HOST}", "--user=root"]


class MariaDBServer(Server):
    """MariaDB, which lets its root in without a password by TCP on the loopback address.

    Args:
        directory: a private folder.
        port: for clients.
    """

    name = "mariadbd"

    def __init__(self, directory: Path, port: int) -> None:
        super().__init__(directory, port)
        self._numbers = itertools.count(1)

    @property
    def url(self) -> str:
        return self.url_of("mysql")

    def url_of(self, database: str) -> str:
        """Where a database is."""
        return f"mysql://root@{HOST}:{self.port}/{database}"

    @property
    def data(self) -> Path:
        """The folder of the databases."""
        return self.directory / "data"

    @property
    def temporary(self) -> Path:
        """Its own folder for temporary tables: a server that starts deletes those of all in one."""
        return self.directory / "tmp"

    def command(self) -> Sequence[str]:
        return [
            *unprivileged(),
            mariadb_binary(),
            "--no-defaults",
            f"--datadir={self.data}",
            f"--port={self.port}",
            f"--bind-address={HOST}",
            f"--socket={self.directory / 'mariadb.sock'}",
            f"--tmpdir={self.temporary}",
            f"--pid-file={self.directory / 'mariadb.pid'}",
            "--innodb-flush-log-at-trx-commit=0",
            "--innodb-buffer-pool-size=32M",
            "--innodb-log-file-size=8M",
            "--skip-log-bin",
        ]

    def launch(self) -> None:
        if not self.data.exists():
            self._make_databases()
        super().launch()

    def _make_databases(self) -> None:
        self.temporary.mkdir()
        if os.geteuid() == 0:
            owner = pwd.getpwnam(USER)
            os.chown(self.directory, owner.pw_uid, owner.pw_gid)
            os.chown(self.temporary, owner.pw_uid, owner.pw_gid)
        made = subprocess.run(
            [
                *unprivileged(),
                find_binary("mariadb-install-db", "mysql_install_db"),
                "--no-defaults",
                f"--datadir={self.data}",
                f"--tmpdir={self.temporary}",
                "--auth-root-authentication-method=normal",
                "--skip-test-db",
                "--innodb-log-file-size=8M",
            ],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            cwd=self.directory,
        )
        if made.returncode:
            raise ServerError(f"mariadb-install-db failed:\n{made.stdout}{made.stderr}")

    def answers(self) -> bool:
        program = find_binary("mariadb-admin", "mysqladmin")
        command = [program, "--no-defaults", *_LOGIN, f"--port={self.port}"]
        answer = subprocess.run(
            [*command, "--connect-timeout=1", "ping"], capture_output=True, check=False
        )
        return answer.returncode == 0

    def sql(self, statement: str, database: str = "mysql") -> str:
        """Run a statement; return what the client prints, columns separated by tabs.

        Raises:
            ServerError: it failed.
        """
        program = find_binary("mariadb", "mysql")
        command = [program, "--no-defaults", *_LOGIN, f"--port={self.port}"]
        done = subprocess.run(
            [*command, "-BN", "-e", statement, database],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise ServerError(f"{statement}: {done.stderr}")
        return done.stdout.strip()

    @contextlib.contextmanager
    def new_database(self) -> Iterator[str]:
        """The name of an empty database of one's own, until the block's end."""
        name = f"test_{next(self._numbers)}"
        self.sql(f"CREATE DATABASE {name} CHARACTER SET utf8mb4 COLLATE utf8mb4_bin")
        try:
            yield name
        finally:
            self.sql(f"DROP DATABASE {name}")


@contextlib.contextmanager
def mariadb_server() -> Iterator[MariaDBServer]:
    """A running MariaDB until the end of the block.

    Raises:
        MissingServerError: it is not installed.
        ServerError: it did not start.
    """
    mariadb_binary()
    with private_folder("mariadb") as directory:
        (port,) = free_ports(1)
        server = MariaDBServer(directory, port)
        try:
            server.start()
            yield server
        finally:
            server.kill()


def mariadb_binary() -> str:
    """The path of ``mariadbd``.

    Raises:
        MissingServerError: it is not on PATH.
    """
    return find_binary("mariadbd", "mysqld")
