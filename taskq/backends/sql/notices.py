"""Hearing from PostgreSQL what other processes have stored, while somebody here waits.

Every transaction that stores an end tells the tasks' ids on one channel (NOTIFY); one thread
of a process that waits listens on it, with a connection of its own.  A notice is a hint: they
who wait look for themselves, and look now and then without one.
"""

from __future__ import annotations

import logging
import os
import selectors
import socket
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

if TYPE_CHECKING:
    from taskq.backends.polling import Bell, Ear
    from taskq.backends.sql.database import Database

logger = logging.getLogger("taskq.backends")

NOTIFIED_POLLS = (0.05, 1.0)
"""Seconds between looks where notices come; behind some poolers of connections none do."""
CHANNEL = "taskq_results"
_DRIVERS = {"psycopg", "psycopg2"}
_MAX_NOTICE = 7900
"""Bytes of a notice, which PostgreSQL limits to 7,999."""
_LINGER = 5.0
"""Seconds for which the thread goes on when nobody waits any more."""
_PAUSE = 0.5
"""Seconds after a lost connection."""


def notify(connection: sa.Connection, task_ids: Sequence[str]) -> None:
    """Tell these tasks' ids when the transaction is committed."""
    notices: list[str] = []
    size = _MAX_NOTICE
    for task_id in task_ids:
        length = len(task_id.encode()) + 1
        if size + length > _MAX_NOTICE:
            notices.append(task_id)
            size = length
        else:
            notices[-1] += "\n" + task_id
            size += length
    for notice in notices:
        connection.execute(_NOTIFY, {"notice": notice})


_NOTIFY = sa.select(sa.func.pg_notify(CHANNEL, sa.bindparam("notice", type_=sa.Text())))


class Notices:
    """The thread that listens for one process, and rings its bell.

    Args:
        database: where from.
        bell: told what there is news of.
    """

    def __init__(self, database: Database, bell: Bell) -> None:
        self._database = database
        self._bell = bell
        self._pid = os.getpid()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._stop: socket.socket | None = None

    @staticmethod
    def possible(database: Database) -> bool:
        """Does the database tell, and its driver hear?"""
        return database.dialect == "postgresql" and database.url.get_driver_name() in _DRIVERS

    @contextmanager
    def listening(self, ear: Ear) -> Iterator[None]:
        """Call `ear` with news until the end of the block."""
        with self._bell.listening(ear):
            self._ensure_thread()
            yield

    def _ensure_thread(self) -> None:
        if self._pid != os.getpid():
            self._pid, self._lock = os.getpid(), threading.Lock()
            self._thread, self._stop = None, None
        with self._lock:
            if self._thread is None:
                self._stop, stopped = socket.socketpair()
                self._thread = threading.Thread(
                    target=self._run, args=(stopped,), name="taskq-results", daemon=True
                )
                self._thread.start()

    def close(self) -> None:
        """Stop listening until somebody waits again."""
        if self._pid != os.getpid():
            return
        with self._lock:
            thread, stop = self._thread, self._stop
            self._thread = self._stop = None
        if stop is not None:
            # Closing alone would not do: a forked child may hold the same socket.
            with suppress(OSError):
                stop.send(b"\0")
            stop.close()
        if thread is not None and thread is not threading.current_thread():
            thread.join(5.0)

    def _run(self, stopped: socket.socket) -> None:
        with stopped:
            while self._wanted():
                try:
                    self._listen(stopped)
                    return
                except Exception as exc:
                    # Hints that do not come cost some time, which is no reason to end anything.
                    logger.debug("no notices from %s: %s", self._database.place, exc)
                    if _ended(stopped, _PAUSE):
                        return

    def _wanted(self) -> bool:
        """Does anybody wait?  If not, the thread ends here; the next waiter starts another."""
        with self._lock:
            if self._bell.heard:
                return True
            if self._thread is threading.current_thread():
                self._thread, stop = None, self._stop
                self._stop = None
                if stop is not None:
                    stop.close()
            return False

    def _listen(self, stopped: socket.socket) -> None:
        """Listen until nobody has waited for a while, or the connection is lost."""
        pooled = self._database.engine.raw_connection()
        connection: Any = pooled.driver_connection
        pooled.detach()
        try:
            connection.autocommit = True
            cursor = connection.cursor()
            cursor.execute(f"LISTEN {CHANNEL}")
            cursor.close()
            # What was stored before the server listened for us was told to nobody.
            self._bell.ring(None)
            idle_since = time.monotonic()
            with selectors.DefaultSelector() as selector:
                selector.register(connection.fileno(), selectors.EVENT_READ)
                selector.register(stopped, selectors.EVENT_READ)
                while True:
                    for key, _ in selector.select(1.0):
                        if key.fileobj is stopped:
                            return
                    for notice in _heard(connection):
                        self._bell.ring(notice.split("\n"))
                    now = time.monotonic()
                    if self._bell.heard:
                        idle_since = now
                    elif now - idle_since > _LINGER and not self._wanted():
                        return
        finally:
            connection.close()


def _heard(connection: Any) -> list[str]:
    """The notices that have come, by the driver's own means."""
    if hasattr(connection, "pgconn"):  # psycopg
        connection.pgconn.consume_input()
        heard = []
        while (notice := connection.pgconn.notifies()) is not None:
            heard.append(notice.extra.decode())
        return heard
    connection.poll()  # psycopg2
    notices = [notice.payload for notice in connection.notifies]
    connection.notifies.clear()
    return notices


def _ended(stopped: socket.socket, timeout: float) -> bool:
    with selectors.DefaultSelector() as selector:
        selector.register(stopped, selectors.EVENT_READ)
        return bool(selector.select(timeout))
