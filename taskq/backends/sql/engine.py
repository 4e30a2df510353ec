"""Making the engine of a URL: its driver, its options, and what SQLite needs besides."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy import exc as sa_errors
from sqlalchemy.pool import NullPool

from taskq.exceptions import ImproperlyConfigured

if TYPE_CHECKING:
    from taskq.settings import Settings

WRITES = "taskq_writes"
"""The option of a connection whose transactions change something."""

# Drivers by database, in the order in which they are preferred, by module and SQLAlchemy's name.
_POSTGRESQL = (("psycopg", "psycopg"), ("psycopg2", "psycopg2"))
_MYSQL = (("MySQLdb", "mysqldb"), ("pymysql", "pymysql"))
_DRIVERS = {"postgresql": _POSTGRESQL, "mysql": _MYSQL, "mariadb": _MYSQL}
_FALLBACKS = {"postgresql": "psycopg", "mysql": "pymysql", "mariadb": "pymysql"}
_EXTRAS = {"postgresql": "postgresql", "mysql": "mysql", "mariadb": "mysql"}
_WITH_CONNECT_TIMEOUT = frozenset({"psycopg", "psycopg2", "pymysql", "mysqldb"})


def read_url(url: str) -> sa.URL:
    """The URL as SQLAlchemy has it, with a driver that is installed if it names none.

    Raises:
        ImproperlyConfigured: it cannot be read, or names no place.
    """
    address = url.removeprefix("db+")
    if address.startswith("postgres://"):
        address = "postgresql" + address.removeprefix("postgres")
    try:
        parsed = sa.make_url(address)
    except (sa_errors.ArgumentError, ValueError) as exc:
        raise ImproperlyConfigured(f"the URL of a database cannot be read: {exc}") from exc
    name = parsed.get_backend_name()
    if name == "sqlite" and parsed.database in (None, "", ":memory:"):
        raise ImproperlyConfigured(
            f"{url!r} names no file: write db+sqlite:///results.db for a file in the working "
            "directory, db+sqlite:////var/lib/results.db for an absolute path"
        )
    if "+" in parsed.drivername or name not in _DRIVERS:
        return parsed
    # SQLAlchemy would take the oldest driver of each, whether it is there or not.
    installed = (driver for module, driver in _DRIVERS[name] if find_spec(module))
    return parsed.set(drivername=f"{name}+{next(installed, _FALLBACKS[name])}")


def engine_options(url: sa.URL, conf: Settings) -> dict[str, Any]:
    """The arguments of ``create_engine``: the settings', on top of ours."""
    options: dict[str, Any] = {"pool_recycle": 3600}
    if conf.database_short_lived_sessions:
        options = {"poolclass": NullPool}
    timeout = conf.broker_connection_timeout
    arguments: dict[str, Any] = {}
    if url.get_backend_name() == "sqlite":
        arguments["timeout"] = timeout
    elif url.get_driver_name() in _WITH_CONNECT_TIMEOUT:
        arguments["connect_timeout"] = max(round(timeout), 1)  # 0 would wait for ever
    if url.get_backend_name() in {"mysql", "mariadb"}:
        # The default locks gaps between rows as well, and transactions into each other.
        options["isolation_level"] = "READ COMMITTED"
    given = conf.database_engine_options
    arguments.update(given.get("connect_args") or {})
    return {**options, **given, **({"connect_args": arguments} if arguments else {})}


def make_engine(
    url: sa.URL, options: dict[str, Any], callback: Callable[[sa.Engine], object] | None
) -> sa.Engine:
    """The engine; nothing is connected yet.

    Raises:
        ImproperlyConfigured: the driver is not installed, or an option does not exist.
    """
    name = url.get_backend_name()
    try:
        engine = sa.create_engine(url, **options)
    except ModuleNotFoundError as exc:
        how = f"'taskq[{_EXTRAS[name]}]'" if name in _EXTRAS else str(exc.name)
        raise ImproperlyConfigured(
            f"db+{url.drivername}:// needs the package {exc.name}: pip install {how}"
        ) from exc
    except sa_errors.NoSuchModuleError as exc:
        raise ImproperlyConfigured(
            f"db+{url.drivername}:// is no database that SQLAlchemy knows: {exc}"
        ) from exc
    except (sa_errors.ArgumentError, TypeError) as exc:
        raise ImproperlyConfigured(f"database_engine_options={options!r}: {exc}") from exc
    if name == "sqlite":
        _prepare_sqlite(engine)
    if callback is not None:
        callback(engine)
    return engine


def _prepare_sqlite(engine: sa.Engine) -> None:
    """Several processes write: a log beside the file, and transactions that say so at once."""

    @event.listens_for(engine, "connect")
    def connected(connection: Any, _record: object) -> None:
        connection.isolation_level = None  # the driver begins no transactions of its own
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=NORMAL")

    @event.listens_for(engine, "begin")
    def begun(connection: sa.Connection) -> None:
        writes = connection.get_execution_options().get(WRITES, True)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def read_callback(given: Any) -> Callable[[sa.Engine], object] | None:
    """The setting ``database_engine_callback``: a function, or its dotted name.

    Raises:
        ImproperlyConfigured: it is neither.
    """
    if isinstance(given, str):
        module, _, name = given.replace(":", ".").rpartition(".")
        try:
            given = getattr(importlib.import_module(module), name)
        except (ImportError, AttributeError, ValueError) as exc:
            raise ImproperlyConfigured(f"database_engine_callback={given!r}: {exc}") from exc
    if given is not None and not callable(given):
        raise ImproperlyConfigured(
            f"database_engine_callback must be a function of an engine, not {given!r}"
        )
    chosen: Callable[[sa.Engine], object] | None = given
    return chosen
