"""One of Django's databases, as the stores use it: errors explained, collisions tried again."""

from __future__ import annotations

import logging
import os
import random
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from typing import Any, TypeVar

from django.db import Error, IntegrityError, InterfaceError, connections, transaction
from django.db import OperationalError as DjangoOperationalError
from django.db.backends.base.base import BaseDatabaseWrapper

from taskq.exceptions import BackendError, OperationalError, TaskQError

T = TypeVar("T")

logger = logging.getLogger("taskq.django")

_ATTEMPTS = 12
_IDLE = 4
"""Connections that are kept for the next use at most."""
_IDLE_FOR = 60.0
"""Seconds for which they are kept."""
# Two transactions were in each other's way; the same again will do.  PostgreSQL's codes
# (https://www.postgresql.org/docs/current/errcodes-appendix.html), MySQL's, and SQLite's words.
_COLLISIONS = {"40001", "40P01", 1205, 1213, 1020}
_LOCKED = "is locked"


class Database:
    """A database under its alias, safe to use from any thread, on a loop, and after fork.

    It has connections of its own: threads that Django does not know leave none behind, and
    what a request or a task does with its connection is nobody else's business.

    Args:
        alias: in Django's setting ``DATABASES``.
        joins: take part in a transaction that the caller is in.  Without it what is written is
            seen at once, and stays, whatever becomes of that transaction.  Two who cannot have
            that are joined all the same: a Django ``TestCase``, which undoes all that is written,
            and who is in a transaction on SQLite, where nobody else may write meanwhile.
    """

    def __init__(self, alias: str, joins: bool = False) -> None:
        self.alias = alias
        self._joins = joins
        self._idle: list[tuple[float, BaseDatabaseWrapper]] = []
        self._inherited: list[object] = []
        self._lock = threading.Lock()
        self._aside: ThreadPoolExecutor | None = None
        self._pid = os.getpid()

    def run(self, work: Callable[[BaseDatabaseWrapper], T], writes: bool = True) -> T:
        """Do work on a connection, which `connections[alias]` gives as well.

        Args:
            work: may be called several times, and does the same each time.
            writes: it changes something, and is done in a transaction.

        Raises:
            OperationalError: the database cannot be reached, or is too busy.
            BackendError: it refuses.
        """
        self._after_fork()
        if _on_a_loop():
            # Django refuses to block a loop.  Whoever calls this there has chosen to.
            return self._thread().submit(self._run, work, writes).result()
        return self._run(work, writes)

    def _run(self, work: Callable[[BaseDatabaseWrapper], T], writes: bool) -> T:
        callers = self._callers()
        for attempt in range(1, _ATTEMPTS + 1):
            with self._owned() if callers is None else nullcontext(callers) as connection:
                inside, was_open = connection.in_atomic_block, connection.connection is not None
                try:
                    with transaction.atomic(self.alias) if writes else nullcontext():
                        return work(connection)
                except Error as exc:
                    stale = not inside and was_open and _has_gone(connection)
                    if attempt == _ATTEMPTS or inside or not (stale or _passes(exc)):
                        raise explain(exc, connection) from exc
            if attempt > 1:
                # Random, so that those who collided do not do so again.
                time.sleep(random.uniform(0.0, 0.002 * 2 ** min(attempt, 6)))
        raise AssertionError("the last attempt returns or raises")

    def _callers(self) -> BaseDatabaseWrapper | None:
        """This thread's connection, if that is to be used."""
        current = _connection_of_thread(self.alias)
        if current is None:
            return None
        if self._joins and current.in_atomic_block:
            return current
        if any(getattr(block, "_from_testcase", False) for block in current.atomic_blocks):
            return current
        if current.vendor != "sqlite":
            return None
        return current if current.in_atomic_block or _in_memory(current) else None

    @contextmanager
    def _owned(self) -> Iterator[BaseDatabaseWrapper]:
        """A connection of our own, which is this thread's until the end of the block."""
        before = _connection_of_thread(self.alias)
        connection = self._take()
        connections[self.alias] = connection
        try:
            yield connection
        finally:
            if before is None:
                del connections[self.alias]
            else:
                connections[self.alias] = before
            self._give_back(connection)

    def _take(self) -> BaseDatabaseWrapper:
        with self._lock:
            if self._idle:
                return self._idle.pop()[1]
        connection = connections.create_connection(self.alias)
        connection.inc_thread_sharing()
        return connection

    def _give_back(self, connection: BaseDatabaseWrapper) -> None:
        # A pool keeps connections by itself, and what has failed is not used again.
        if connection.connection is None or connection.errors_occurred or _pooled(connection):
            connection.close()
            return
        now = time.monotonic()
        with self._lock:
            self._idle.append((now, connection))
            old = [each for each in self._idle[:-1] if now - each[0] > _IDLE_FOR]
            old += self._idle[len(old) : -_IDLE]
            self._idle = [each for each in self._idle if each not in old]
        for _, each in old:
            each.close()

    def _thread(self) -> ThreadPoolExecutor:
        with self._lock:
            if self._aside is None:
                self._aside = ThreadPoolExecutor(1, thread_name_prefix="taskq-django")
            return self._aside

    def _after_fork(self) -> None:
        if self._pid == os.getpid():
            return
        # A parent's connections are left alone, and kept: to end them here ends them there.
        self._inherited.append((self._idle, self._aside))
        self._idle, self._aside, self._lock = [], None, threading.Lock()
        self._pid = os.getpid()

    def close(self) -> None:
        """Close the connections that are not in use."""
        self._after_fork()
        with self._lock:
            idle, self._idle = self._idle, []
            aside, self._aside = self._aside, None
        for _, connection in idle:
            connection.close()
        if aside is not None:
            aside.submit(connections.close_all)
            aside.shutdown()


def _on_a_loop() -> bool:
    """Does an event loop run in this thread?"""
    # asyncio is imported by those who use it: where it is not, there is no loop.
    asyncio = sys.modules.get("asyncio")
    return asyncio is not None and asyncio._get_running_loop() is not None


def _connection_of_thread(alias: str) -> BaseDatabaseWrapper | None:
    """The connection that this thread has, if it ever had one."""
    for connection in connections.all(initialized_only=True):
        if connection.alias == alias:
            return connection
    return None


def _in_memory(connection: Any) -> bool:
    """Is it an SQLite database that other connections do not see, or not without trouble?"""
    return bool(connection.is_in_memory_db())


def _pooled(connection: BaseDatabaseWrapper) -> bool:
    return bool(connection.settings_dict["OPTIONS"].get("pool"))


def _has_gone(connection: BaseDatabaseWrapper) -> bool:
    """Was it the connection that failed, and not what was asked?  It is closed then."""
    if connection.connection is not None and connection.errors_occurred:
        connection.close_if_unusable_or_obsolete()
    return connection.connection is None


def _passes(error: Exception) -> bool:
    """May the same succeed now?  Somebody was in the way."""
    if isinstance(error, IntegrityError):
        return True
    cause = error.__cause__
    arguments = getattr(cause, "args", ()) or ("",)
    code = getattr(cause, "sqlstate", None) or getattr(cause, "pgcode", None) or arguments[0]
    return code in _COLLISIONS or _LOCKED in str(error)


def explain(error: Exception, connection: BaseDatabaseWrapper) -> TaskQError:
    """Taskq's error for one of Django's; it says where it was."""
    place = _place(connection)
    reason = " ".join(str(error).split())
    if isinstance(error, (DjangoOperationalError, InterfaceError)):
        if "no such table" in reason:
            return BackendError(f"{place}: {reason}: run `manage.py migrate`")
        return OperationalError(f"{place}: {reason}")
    if "does not exist" in reason:
        reason = f"{reason}: has `manage.py migrate` been run?"
    return BackendError(f"{place} refuses: {reason}")


def _place(connection: BaseDatabaseWrapper) -> str:
    where: dict[str, Any] = connection.settings_dict
    host = f" at {where['HOST']}:{where['PORT']}" if where.get("HOST") else ""
    return f"the database {connection.alias!r} ({where['NAME']}{host})"
