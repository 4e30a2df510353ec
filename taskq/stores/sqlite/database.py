"""One SQLite file, shared by many processes: connections, transactions, errors.

How the file is used, and why:

* Write-ahead log, ``synchronous=NORMAL``: a commit survives the death of any process.
  A power cut may take back the last commits (https://www.sqlite.org/wal.html); the URL
  option ``?synchronous=full`` makes each commit wait for the disk.
* Every writing transaction is ``BEGIN IMMEDIATE``: a deferred one that upgrades fails at
  once when another process writes.
* Waiting for the lock is our own loop with short random steps and a deadline: SQLite's
  ``busy_timeout`` sleeps ever longer and starves a producer beside a busy worker.
* No connection survives a fork: the child must not even close it
  (https://www.sqlite.org/howtocorrupt.html, 2.6).
* No connection survives its file: one whose file was deleted or replaced would go on
  reading and writing what nobody else can see.
"""

from __future__ import annotations

import os
import random
import sqlite3
import time
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from taskq.exceptions import ImproperlyConfigured, OperationalError
from taskq.stores.sqlite.address import checked_options, parse_url, refuse_network_filesystem
from taskq.stores.sqlite.schema import SCHEMA_VERSION, create_schema
from taskq.stores.wakeups import WakeUps


class _Connection(sqlite3.Connection):
    """A connection that knows which file it has opened."""

    file: tuple[int, int] | None = None


class Database:
    """A pool of connections to one file, safe to use from any thread and after fork.

    Args:
        url: ``sqlite:///relative.db`` or ``sqlite:////absolute.db``, with the options
            ``synchronous`` (off, normal, full, extra) and ``timeout``.
        timeout: seconds to wait for another process's transaction.
        options: the URL's options, from the setting ``broker_transport_options``.

    Raises:
        ImproperlyConfigured: the URL names no file, or an option that does not exist.
    """

    def __init__(
        self, url: str, timeout: float = 4.0, options: Mapping[str, Any] | None = None
    ) -> None:
        self.path, in_url = parse_url(url)
        options = checked_options(url, {**(options or {}), **in_url})
        self._synchronous = options.get("synchronous", "normal").upper()
        self._timeout = float(options.get("timeout", timeout))
        self.wakeups = WakeUps(self.path)
        self._idle: deque[_Connection] = deque()
        self._pid = os.getpid()
        self._inherited: list[deque[_Connection]] = []

    @contextmanager
    def read(self) -> Iterator[sqlite3.Connection]:
        """A connection to read with.  Exhaust every cursor: an open one blocks checkpoints."""
        connection = self._acquire()
        try:
            yield connection
        except sqlite3.Error as exc:
            connection.close()
            raise explain(exc, self.path) from exc
        self._idle.append(connection)

    @contextmanager
    def write(self) -> Iterator[sqlite3.Connection]:
        """A transaction: committed at the end of the block, rolled back if it raises.

        Raises:
            OperationalError: the file is locked past the deadline, full, read-only,
                corrupt or gone; nothing was written.
        """
        connection = self._acquire()
        try:
            self._begin(connection)
            yield connection
            connection.execute("COMMIT")
        except BaseException as exc:
            connection.close()  # rolls back; after an I/O error a connection is not reused
            if isinstance(exc, sqlite3.Error):
                raise explain(exc, self.path) from exc
            raise
        self._idle.append(connection)

    def close(self) -> None:
        """Close the connections that are not in use."""
        while self._idle and self._pid == os.getpid():
            self._idle.pop().close()
        self.wakeups.close()

    def _acquire(self) -> _Connection:
        if self._pid != os.getpid():
            # Kept for ever: to close a parent's connection in a child breaks its locks.
            self._inherited.append(self._idle)
            self._idle = deque()
            self._pid = os.getpid()
        file = _identity(self.path)
        try:
            while (connection := self._idle.pop()).file != file:
                connection.close()
            return connection
        except IndexError:
            return self._connect()

    def _connect(self) -> _Connection:
        refuse_network_filesystem(self.path)
        try:
            connection = sqlite3.connect(
                self.path,
                timeout=0,
                isolation_level=None,
                check_same_thread=False,
                cached_statements=512,
                factory=_Connection,
            )
        except sqlite3.Error as exc:
            raise explain(exc, self.path) from exc
        try:
            self._until_unlocked(lambda: self._prepare(connection))
        except BaseException as exc:
            connection.close()
            if isinstance(exc, sqlite3.Error):
                raise explain(exc, self.path) from exc
            raise
        connection.file = _identity(self.path)
        return connection

    def _prepare(self, connection: sqlite3.Connection) -> None:
        version = connection.execute("PRAGMA user_version").fetchone()[0]
        if version > SCHEMA_VERSION:
            raise ImproperlyConfigured(
                f"{self.path} was made by a newer taskq (schema {version}, this one knows "
                f"{SCHEMA_VERSION}): upgrade taskq, or name another file in broker_url"
            )
        if version < SCHEMA_VERSION:
            create_schema(connection, self.path)
        connection.execute(f"PRAGMA synchronous={self._synchronous}")
        connection.execute("PRAGMA temp_store=MEMORY")

    def _begin(self, connection: sqlite3.Connection) -> None:
        self._until_unlocked(lambda: connection.execute("BEGIN IMMEDIATE"))

    def _until_unlocked(self, action: object) -> None:
        """Repeat an action until no other process holds the lock, or the deadline."""
        assert callable(action)
        deadline = 0.0
        while True:
            try:
                action()
                return
            except sqlite3.OperationalError as exc:
                now = time.monotonic()
                deadline = deadline or now + self._timeout
                if _primary_code(exc) not in _LOCKED or now > deadline:
                    raise
            # 0.2 to 1 ms: as long as a usual transaction, random so that nobody starves.
            time.sleep(random.uniform(0.0002, 0.001))


def _identity(path: str) -> tuple[int, int] | None:
    """Device and inode of the file that has this name now."""
    try:
        info = os.stat(path)
    except OSError:
        return None
    return info.st_dev, info.st_ino


_LOCKED = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}
_ADVICE = {
    sqlite3.SQLITE_BUSY: "another process holds its lock for too long: end that transaction",
    sqlite3.SQLITE_FULL: "the disk is full: free some space",
    sqlite3.SQLITE_READONLY: "it cannot be written: check the owner and mode of file and folder",
    sqlite3.SQLITE_CANTOPEN: "it cannot be opened: check that the folder exists and is writable",
    sqlite3.SQLITE_IOERR: "the disk answers with errors: check it, and the space on it",
    sqlite3.SQLITE_CORRUPT: "it is damaged: move it away, or try the sqlite3 shell's .recover",
    sqlite3.SQLITE_NOTADB: "it is no SQLite database: move it away, or name another file",
}


def explain(error: sqlite3.Error, path: str) -> OperationalError:
    """An error that names the file and says what to do."""
    advice = _ADVICE.get(_primary_code(error))
    return OperationalError(f"{path}: {error}" + (f" - {advice}" if advice else ""))


def _primary_code(error: sqlite3.Error) -> int:
    """SQLite's result code without the extension in its upper bytes."""
    return int(getattr(error, "sqlite_errorcode", 0)) & 0xFF
