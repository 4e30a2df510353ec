"""What only the store in an SQL database promises: Celery's tables, and coming back."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from taskq import states
from taskq.backends.base import ChordRecord
from taskq.backends.registry import make_backend
from taskq.backends.sql import SqlBackend
from taskq.exceptions import BackendError, BackendStoreError, ImproperlyConfigured, OperationalError
from taskq.settings import Settings
from tests.conformance.backends import outcome, part
from tests.conformance.processes import forked
from tests.servers import PostgreSQLServer, postgresql_server
from tests.waiting import wait_until

PATIENCE = 20.0
DONE = b'{"status":"SUCCESS","result":[1],"traceback":null,"children":[],"task_id":"a"}'


def opened(url: str, **settings: Any) -> SqlBackend:
    backend = make_backend(f"db+{url}", Settings(settings))
    assert isinstance(backend, SqlBackend)
    return backend


@pytest.fixture(params=["postgresql", "mariadb", "sqlite"])
def url(request: pytest.FixtureRequest) -> str:
    """An empty database."""
    if request.param == "sqlite":
        return f"sqlite:///{request.getfixturevalue('tmp_path')}/results.db"
    return str(request.getfixturevalue(f"{request.param}_url"))


@pytest.fixture
def backend(url: str) -> Iterator[SqlBackend]:
    backend = opened(url)
    yield backend
    backend.close()


def rows(backend: SqlBackend, query: str) -> list[tuple[Any, ...]]:
    with backend.database.engine.connect() as connection:
        return [tuple(row) for row in connection.exec_driver_sql(query)]


def change(backend: SqlBackend, *statements: str) -> None:
    with backend.database.engine.begin() as connection:
        for statement in statements:
            connection.exec_driver_sql(statement)


# Celery's tables


def test_a_result_lies_as_celery_keeps_it(backend: SqlBackend) -> None:
    backend.store([outcome("a", payload=DONE)])
    found = rows(backend, "SELECT task_id, status, result, taskq FROM celery_taskmeta")
    assert [(a, b, bytes(c), d) for a, b, c, d in found] == [("a", "SUCCESS", b"[1]", None)]
    assert rows(backend, "SELECT count(*) FROM celery_tasksetmeta") == [(0,)]


def test_a_table_that_celery_has_made_is_used(url: str) -> None:
    kind = url.partition(":")[0]
    blob, two = ("BYTEA", "'[2]'") if kind == "postgresql" else ("BLOB", "X'5b325d'")
    backend = opened(url, database_create_tables_at_setup=False)
    if kind != "sqlite":
        change(backend, "CREATE SEQUENCE task_id_sequence START WITH 8")
    change(
        backend,
        "CREATE TABLE celery_taskmeta (id INTEGER PRIMARY KEY, task_id VARCHAR(155) UNIQUE,"
        f" status VARCHAR(50), result {blob}, date_done TIMESTAMP NULL, traceback TEXT)",
        "INSERT INTO celery_taskmeta (id, task_id, status, result)"
        f" VALUES (7, 'old', 'SUCCESS', {two})",
    )
    backend.store([outcome("old", states.FAILURE), outcome("a", payload=DONE), outcome("b")])
    found = backend.fetch(["old", "a", "b"])
    assert b'"result":[2]' in found["old"].payload
    assert b'"result":[1]' in found["a"].payload
    assert found["b"] == outcome("b")  # opaque bytes need a column of ours, which was added
    # Celery goes on with its own numbers and columns.
    change(
        backend,
        "INSERT INTO celery_taskmeta (id, task_id, status, result)"
        f" VALUES (99, 'new', 'STARTED', {two})",
    )
    assert backend.fetch(["new"])["new"].state == states.STARTED
    backend.close()


@pytest.mark.parametrize("url", ["postgresql", "sqlite"], indirect=True)
def test_names_and_schemas(url: str) -> None:
    names = {"task": "some tasks", "group": "some_groups", "chord": "some_parts"}
    settings: dict[str, Any] = {"database_table_names": names}
    if url.startswith("postgresql"):
        backend = opened(url, database_create_tables_at_setup=False)
        change(backend, "CREATE SCHEMA results")
        backend.close()
        settings["database_table_schemas"] = dict.fromkeys(names, "results")
    backend = opened(url, **settings)
    backend.store([outcome("a")])
    assert backend.add_parts([part(0, 1)]) == [part(0, 1)]
    assert set(backend.fetch(["a"])) == {"a"}
    place = "results." if url.startswith("postgresql") else ""
    assert rows(backend, f'SELECT count(*) FROM {place}"some tasks"') == [(1,)]
    backend.close()


def test_tables_are_made_by_many_at_once(url: str) -> None:
    backends = [opened(url, database_create_tables_at_setup=False) for _ in range(6)]
    start = threading.Barrier(len(backends))

    def store(number: int) -> None:
        start.wait()
        backends[number].store([outcome(f"t{number}")])

    with ThreadPoolExecutor(len(backends)) as threads:
        list(threads.map(store, range(len(backends))))
    assert len(backends[0].fetch([f"t{n}" for n in range(6)])) == 6
    for backend in backends:
        backend.close()


def test_outcomes_in_each_others_way(backend: SqlBackend) -> None:
    """The same ids in different orders, by several threads: nobody gives up."""
    ids = [f"t{n}" for n in range(40)]

    def store(number: int) -> None:
        for n in range(5):
            turned = ids[n * number :] + ids[: n * number]
            backend.store([outcome(key, states.STARTED) for key in turned])
            backend.add_parts([part(n, 100, group=key) for key in turned])
        backend.store([outcome(key, payload=b"%d" % number) for key in reversed(ids)])

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(store, range(4)))
    found = backend.fetch(ids)
    assert {o.state for o in found.values()} == {states.SUCCESS}
    assert set(backend.chord_parts("t7")) == set(range(5))


# Chords


def test_members_counted_by_processes_that_are_killed(backend: SqlBackend) -> None:
    """Each member is told by two processes, one of which dies; one at least sees the chord end."""
    backend.close()
    size = 40

    def member(number: int) -> None:
        for n in range(number, size, 4):
            if backend.add_parts([part(n, size)]):
                backend.store([outcome("complete")])
            if number == 0 and n > size // 2:
                os.kill(os.getpid(), signal.SIGKILL)
        backend.close()

    with (
        forked(lambda: member(0)),
        forked(lambda: member(1)),
        forked(lambda: member(2)),
        forked(lambda: member(3)),
    ):
        pass
    assert len(backend.chord_parts("g")) < size
    assert not backend.fetch(["complete"])
    with forked(lambda: [None for n in range(size) if backend.add_parts([part(n, size)])] and None):
        pass
    assert sorted(backend.chord_parts("g")) == list(range(size))
    assert backend.add_parts([part(3, size)])


def test_members_that_join_a_large_chord(backend: SqlBackend) -> None:
    """Their places are millions of the place of the member that added them."""
    backend.keep_chords([ChordRecord("g", b"what")])
    far = 5_000_000_001
    for _ in range(2):
        backend.extend_chord("g", far)
    assert backend.add_parts([part(0, 1)]) == []
    assert backend.add_parts([part(far, 1)]) == [part(far, 1)]
    assert set(backend.chord_parts("g")) == {0, far}
    assert backend.open_chords("", 5) == [ChordRecord("g", b"what", 1)]


# Going away and coming back


@pytest.fixture
def server() -> Iterator[PostgreSQLServer]:
    """A PostgreSQL to be ill-treated."""
    with postgresql_server() as server:
        yield server


def test_a_restart_is_not_noticed(server: PostgreSQLServer) -> None:
    backend = opened(server.url)
    with ThreadPoolExecutor(2) as threads:
        backend.store([outcome("before")])
        waiting = threads.submit(backend.wait, ["after"], PATIENCE)
        for restart in (server.restart, lambda: (server.kill(), server.start())):
            restart()
            assert set(backend.fetch(["before"])) == {"before"}
            backend.add_parts([part(0)])
        backend.store([outcome("after")])
        assert set(waiting.result()) == {"after"}
    backend.close()


def test_a_server_that_is_away(server: PostgreSQLServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("taskq.backends.polling.PATIENCE", 0.05)
    backend = opened(server.url)
    server.stop()
    with pytest.raises(OperationalError, match=f"{server.port}/postgres: .*refused"):
        backend.store([outcome("a")])
    with pytest.raises(OperationalError):
        backend.wait(["a"], PATIENCE)
    with pytest.raises(OperationalError):
        asyncio.run(backend.await_(["a"], PATIENCE))
    late = opened(server.url)  # made all the same; its tables are looked for later
    server.start()
    backend.store([outcome("a")])
    assert set(late.fetch(["a"])) == {"a"}
    backend.close()
    late.close()


def test_notices_come_again_after_a_lost_connection(
    server: PostgreSQLServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("taskq.backends.sql.backend.NOTIFIED_POLLS", (3600.0, 3600.0))
    monkeypatch.setattr("taskq.backends.sql.notices._PAUSE", 0.01)
    backend = opened(server.url)
    other = opened(server.url)
    of_listeners = "FROM pg_stat_activity WHERE query LIKE 'LISTEN%%'"
    listening = f"SELECT count(*) {of_listeners}"
    with ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(backend.wait, ["a"], PATIENCE)
        wait_until(lambda: rows(other, listening) == [(1,)], PATIENCE, "the listener")
        assert rows(other, f"SELECT pg_terminate_backend(pid) {of_listeners}") == [(True,)]
        wait_until(lambda: rows(other, listening) == [(1,)], PATIENCE, "the listener again")
        other.store([outcome("a")])
        assert set(waiting.result()) == {"a"}
    backend.close()
    other.close()


# Settings and mistakes


def test_connections_are_closed_after_use(postgresql_url: str) -> None:
    backend = opened(postgresql_url, database_short_lived_sessions=True)
    other = opened(postgresql_url)
    backend.store([outcome("a")])
    assert set(backend.fetch(["a"])) == {"a"}
    name = postgresql_url.rpartition("/")[2]
    query = f"SELECT count(*) FROM pg_stat_activity WHERE datname = '{name}'"
    wait_until(lambda: rows(other, query) == [(1,)], PATIENCE, "the connections to be closed")
    backend.close()
    other.close()


def test_the_callback_gets_the_engine(url: str) -> None:
    engines: list[Any] = []
    backend = opened(url, database_engine_callback=engines.append)
    assert engines == [backend.database.engine]
    backend.close()


def test_the_name_database(url: str) -> None:
    backend = make_backend("database", Settings({"database_url": url}))
    assert isinstance(backend, SqlBackend)
    backend.close()
    with pytest.raises(ImproperlyConfigured, match="database_url"):
        make_backend("database", Settings())


def test_ids_that_do_not_fit(backend: SqlBackend) -> None:
    with pytest.raises(BackendStoreError, match="155 and states"):
        backend.store([outcome("x" * 200)])


def test_a_table_that_has_gone(backend: SqlBackend) -> None:
    change(backend, "DROP TABLE celery_taskmeta")
    with pytest.raises((BackendError, OperationalError), match="celery_taskmeta"):
        backend.fetch(["a"])
