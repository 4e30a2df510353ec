"""One database: transactions that are tried again, and tables that are made where missing."""

from __future__ import annotations

import logging
import os
import random
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

import sqlalchemy as sa
from sqlalchemy import exc as sa_errors

from taskq.backends.sql.engine import (
    WRITES,
    engine_options,
    make_engine,
    read_callback,
    read_url,
)
from taskq.backends.sql.errors import explain, is_there, passes
from taskq.backends.sql.tables import OWN_COLUMN, Tables

if TYPE_CHECKING:
    from taskq.settings import Settings

T = TypeVar("T")

logger = logging.getLogger("taskq.backends")

_ATTEMPTS = 12


class Database:
    """The database of a URL, safe to use from any thread and after fork.

    Args:
        url: ``db+postgresql://user:password@host/name`` and what else SQLAlchemy knows.
        conf: the settings ``database_*``.

    Raises:
        ImproperlyConfigured: the URL cannot be used, or its driver is not installed.
    """

    def __init__(self, url: str, conf: Settings) -> None:
        self.url = read_url(url)
        self.place = self.url.render_as_string(hide_password=True)
        self.dialect = self.url.get_backend_name()
        self.tables = Tables(conf.database_table_names or {}, conf.database_table_schemas or {})
        callback = read_callback(conf.database_engine_callback)
        self._engine = make_engine(self.url, engine_options(self.url, conf), callback)
        self._pid = os.getpid()
        self._lock = threading.Lock()
        self._columns: frozenset[str] | None = None

    @property
    def engine(self) -> sa.Engine:
        """The engine, with the connections of this process alone."""
        if self._pid != os.getpid():
            self._after_fork()
        return self._engine

    def _after_fork(self) -> None:
        with self._lock:
            if self._pid != os.getpid():
                # A parent's connections are left alone: to end them here ends them there.
                self._engine.dispose(close=False)
                self._pid = os.getpid()

    @property
    def columns(self) -> frozenset[str]:
        """The columns of the table of results; Celery may have made it, with fewer of them."""
        if self._columns is None:
            self.create_tables()
        assert self._columns is not None
        return self._columns

    def create_tables(self) -> None:
        """Make the tables that are missing, and our column in Celery's.

        Raises:
            OperationalError: the database cannot be reached.
            BackendError: it does not allow that.
        """
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                self._columns = self._prepared()
                return
            except sa_errors.SQLAlchemyError as exc:
                # Another process may be making them too, and have been faster.
                if attempt == _ATTEMPTS or not is_there(exc):
                    raise explain(exc, self.place) from exc
            time.sleep(random.uniform(0.0, 0.1))

    def _prepared(self) -> frozenset[str]:
        tasks = self.tables.tasks
        self.tables.metadata.create_all(self.engine)
        found = sa.inspect(self.engine).get_columns(tasks.name, schema=tasks.schema)
        names = {column["name"] for column in found}
        if OWN_COLUMN not in names and self._add_own_column():
            names.add(OWN_COLUMN)
        return frozenset(names & set(tasks.columns.keys()))

    def _add_own_column(self) -> bool:
        column = self.tables.tasks.c[OWN_COLUMN]
        table = self.engine.dialect.identifier_preparer.format_table(self.tables.tasks)
        kind = column.type.compile(self.engine.dialect)
        try:
            with self.engine.begin() as connection:
                connection.exec_driver_sql(f"ALTER TABLE {table} ADD COLUMN {OWN_COLUMN} {kind}")
        except sa_errors.SQLAlchemyError as exc:
            if is_there(exc):
                return True
            logger.warning("%s: no column %s in %s: %s", self.place, OWN_COLUMN, table, exc)
            return False
        return True

    def run(self, work: Callable[[sa.Connection], T], writes: bool = True) -> T:
        """Do work in a transaction, and again if that could not be finished.

        Args:
            work: may be called several times, and does the same each time.
            writes: it changes something.

        Raises:
            OperationalError: the database cannot be reached, or is too busy.
            BackendError: it refuses.
        """
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                with self.engine.connect() as connection:
                    connection.execution_options(**{WRITES: writes})
                    with connection.begin():
                        return work(connection)
            except sa_errors.SQLAlchemyError as exc:
                if attempt == _ATTEMPTS or not passes(exc):
                    raise explain(exc, self.place) from exc
            if attempt > 1:
                # Random, so that those who collided do not do so again.
                time.sleep(random.uniform(0.0, 0.002 * 2 ** min(attempt, 6)))
        raise AssertionError("the last attempt returns or raises")

    def close(self) -> None:
        """Close the connections that are not in use."""
        if self._pid == os.getpid():
            self._engine.dispose()


def chunks(items: list[T], size: int) -> list[list[T]]:
    """A list in pieces."""
    return [items[start : start + size] for start in range(0, len(items), size)]
