"""What only the result stores in Django's databases and caches promise."""

from __future__ import annotations

import asyncio
import io
import json
import unittest
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from taskq import TaskQ, states
from taskq.backends.base import Backend, ChordRecord, Outcome
from taskq.backends.registry import make_backend
from taskq.exceptions import BackendError, BackendStoreError, ImproperlyConfigured, OperationalError
from taskq.settings import Settings
from tests.conformance.backends import open_backend, outcome, part
from tests.conformance.django_places import (
    DATABASE,
    cache_alias,
    database_alias,
    migrate,
    set_up,
)
from tests.servers import PostgreSQLServer, postgresql_server
from tests.waiting import wait_until

if TYPE_CHECKING:
    from taskq.contrib.django.results.backend import DjangoBackend

PATIENCE = 20.0


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest) -> str:
    """A database with the tables."""
    return str(request.getfixturevalue(f"django_{request.param}"))


@pytest.fixture
def alias(url: str) -> Iterator[str]:
    """Its name in Django's settings."""
    from django.db import connections

    yield database_alias(url)
    connections[database_alias(url)].close()


@pytest.fixture
def backend(url: str) -> Iterator[DjangoBackend]:
    backend: Any = open_backend(url)
    yield backend
    backend.close()


def results(alias: str) -> Any:
    from taskq.contrib.django.models import TaskResult

    return TaskResult.objects.using(alias)


def encoded(task_id: str, state: str, result: Any, **more: Any) -> Outcome:
    """An outcome as an app makes it."""
    app = TaskQ("proj", broker="memory://", set_as_current=False)
    try:
        return app.result_codec.encode(task_id, state, result, **more)
    finally:
        app.close()


# Columns


def test_a_document_lies_in_columns(alias: str, backend: Backend) -> None:
    stored = encoded(
        "a",
        states.FAILURE,
        ValueError("no ü"),
        traceback="Traceback: ü",
        headers={"group": "g", "parent_id": "p"},
        name="proj.add",
        args=[1, "ü"],
        kwargs={"x": None},
        worker="w@host",
        queue="mails",
        retries=3,
        children=[[["c", None], None]],
    )
    backend.store([stored])
    row = results(alias).get(task_id="a")
    assert (row.state, row.name, row.worker, row.queue, row.retries) == (
        *(states.FAILURE, "proj.add", "w@host", "mails"),
        3,
    )
    assert (json.loads(row.args), json.loads(row.kwargs)) == ([1, "ü"], {"x": None})
    assert row.value["exc_type"] == "ValueError"
    assert row.traceback == "Traceback: ü"
    assert json.loads(row.more) == {
        "children": [[["c", None], None]],
        "group_id": "g",
        "parent_id": "p",
    }
    assert row.payload is None
    # And the same comes out of them.
    before, after = json.loads(stored.payload), json.loads(backend.fetch(["a"])["a"].payload)
    assert {**before, "date_done": 0} == {**after, "date_done": 0}


@pytest.mark.parametrize("value", [None, 0, "", [], "\0 in a text", "\ud800", 10**30, {"a": 1.5}])
def test_values_come_out_as_they_went_in(backend: Backend, value: Any) -> None:
    stored = encoded("a", states.SUCCESS, value, traceback="with \0", name="n" * 300)
    backend.store([stored])
    found = json.loads(backend.fetch(["a"])["a"].payload)
    expected = json.loads(stored.payload)
    assert {**found, "date_done": 0} == {**expected, "date_done": 0}


def test_the_first_time_stays(alias: str, backend: Backend) -> None:
    backend.store([outcome("a", states.STARTED)])
    first = results(alias).get().created
    backend.store([outcome("a")])
    row = results(alias).get()
    assert row.created == first < row.changed


def test_ids_that_do_not_fit(backend: Backend) -> None:
    with pytest.raises(BackendStoreError, match="ids of 255 and states of 50"):
        backend.store([outcome("x" * 256)])


# Both ways of writing


def test_other_databases_write_step_by_step(
    alias: str, backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    from taskq.contrib.django.results import upsert

    monkeypatch.setattr(upsert, "_upsert", upsert.upsert_step_by_step)
    backend.store([outcome("a", states.STARTED), outcome("b"), outcome("c", states.FAILURE)])
    first = results(alias).get(task_id="a").created
    backend.store([outcome(key, states.FAILURE, b"later") for key in "dcba"])
    found = backend.fetch(list("abcd"))
    assert {key: (o.state, o.payload) for key, o in found.items()} == {
        "a": (states.FAILURE, b"later"),
        "b": (states.SUCCESS, b"{}"),
        "c": (states.FAILURE, b"later"),
        "d": (states.FAILURE, b"later"),
    }
    assert results(alias).get(task_id="a").created == first
    backend.store([outcome("a", states.STARTED)])
    assert backend.fetch(["a"])["a"].state == states.FAILURE
    results(alias).filter(task_id="b").update(changed=first - timedelta(days=2))
    backend.store([outcome("b", states.STARTED)])  # what has expired counts for nothing
    assert backend.fetch(["b"])["b"].state == states.STARTED


def test_one_statement_stores_all(
    alias: str, backend: DjangoBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def note(execute: Any, sql: str, *rest: Any) -> Any:
        asked.append(sql.split()[0])
        return execute(sql, *rest)

    def noted(work: Any, writes: bool = True) -> Any:
        def with_notes(connection: Any) -> Any:
            with connection.execute_wrapper(note):
                return work(connection)

        return run(with_notes, writes)

    run = backend.database.run
    monkeypatch.setattr(backend.database, "run", noted)
    backend.store([outcome(f"t{n}") for n in range(40)])
    assert asked == ["INSERT"]


def test_outcomes_in_each_others_way(backend: Backend) -> None:
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


# Transactions, loops and tests


def test_what_is_stored_within_a_transaction_is_seen_at_once(django_postgresql: str) -> None:
    from django.db import transaction

    alias = database_alias(django_postgresql)
    backend = open_backend(django_postgresql)
    other = open_backend(django_postgresql)
    with transaction.atomic(alias):
        list(results(alias))
        backend.store([outcome("a", "PROGRESS")])
        assert other.fetch(["a"])["a"].state == "PROGRESS"
        transaction.set_rollback(True, alias)
    assert other.fetch(["a"])["a"].state == "PROGRESS"
    for each in (backend, other):
        each.close()
    close(alias)


def close(alias: str) -> None:
    from django.db import connections

    connections[alias].close()


def test_in_a_transaction_on_sqlite_it_takes_part(django_sqlite: str) -> None:
    from django.db import transaction

    alias = database_alias(django_sqlite)
    backend = open_backend(django_sqlite)
    with transaction.atomic(alias):
        results(alias).all().delete()  # nobody else may write now
        backend.keep_chords([ChordRecord("g", b"what")])
        transaction.set_rollback(True, alias)
    assert backend.chord_record("g") is None
    backend.close()
    close(alias)


def test_a_testcase_undoes_what_was_stored(alias: str, backend: Backend) -> None:
    from django.test import TestCase

    class Case(TestCase):
        databases = frozenset({alias})

        def runTest(self) -> None:
            backend.store([outcome("a")])
            assert results(alias).count() == 1
            assert "a" in backend.fetch(["a"])

    result = unittest.TestResult()
    unittest.TestSuite([Case()]).run(result)
    assert (result.testsRun, result.failures, result.errors) == (1, [], [])
    assert backend.fetch(["a"]) == {}


def test_it_can_be_asked_on_a_loop(backend: Backend) -> None:
    async def ask() -> set[str]:
        backend.store([outcome("a")])
        return set(backend.fetch(["a"]))

    assert asyncio.run(ask()) == {"a"}


def test_connections_are_not_left_behind(django_postgresql: str) -> None:
    from django.db import connections

    backend = open_backend(django_postgresql)
    alias = database_alias(django_postgresql)
    with ThreadPoolExecutor(12) as threads:
        list(threads.map(lambda n: backend.store([outcome(f"t{n}")]), range(100)))
    count = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"

    def sessions() -> int:
        with connections[alias].cursor() as cursor:
            cursor.execute(count)
            return int(cursor.fetchone()[0])

    wait_until(lambda: sessions() <= 5, PATIENCE, "this one, and four that are kept")
    backend.close()
    wait_until(lambda: sessions() == 1, PATIENCE, "this one alone")
    close(alias)


def test_connections_of_a_pool_go_back_to_it(django_postgresql: str) -> None:
    from django.db import connections

    alias = database_alias(django_postgresql)
    pytest.importorskip("psycopg_pool")
    connections.databases[alias]["OPTIONS"] = {"pool": {"min_size": 1, "max_size": 2}}
    backend = open_backend(django_postgresql)
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda n: backend.store([outcome(f"t{n}")]), range(40)))
    assert len(backend.fetch([f"t{n}" for n in range(40)])) == 40
    backend.close()
    connections[alias].close_pool()  # type: ignore[attr-defined]
    close(alias)


# Going away and coming back


@pytest.fixture
def server() -> Iterator[PostgreSQLServer]:
    """A PostgreSQL to be ill-treated."""
    with postgresql_server() as server:
        yield server


def test_a_restart_is_not_noticed(
    server: PostgreSQLServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("taskq.backends.polling.PATIENCE", 0.05)
    migrate(f"{DATABASE}{server.url}")
    backend = open_backend(f"{DATABASE}{server.url}")
    backend.store([outcome("before")])
    for restart in (server.restart, lambda: (server.kill(), server.start())):
        restart()
        assert set(backend.fetch(["before"])) == {"before"}
        backend.add_parts([part(0)])
    server.stop()
    with pytest.raises(OperationalError, match=f"postgres at 127.0.0.1:{server.port}.*refused"):
        backend.store([outcome("a")])
    with pytest.raises(OperationalError):
        backend.wait(["a"], PATIENCE)
    server.start()
    backend.store([outcome("a")])
    assert set(backend.fetch(["a"])) == {"a"}
    backend.close()


def test_tables_that_are_missing(tmp_path: Any) -> None:
    backend = open_backend(f"{DATABASE}sqlite://{tmp_path}/empty.db")
    with pytest.raises(BackendError, match=r"taskq_taskresult.*manage.py migrate"):
        backend.fetch(["a"])
    backend.close()


# Settings and mistakes


def test_the_router_names_the_database(
    url: str, alias: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from django.db import router

    class Router:
        def db_for_write(self, model: Any, **hints: Any) -> str | None:
            return alias if model._meta.app_label == "taskq" else None

    monkeypatch.setattr(router, "routers", [Router()])
    backend = make_backend("django-db", Settings())
    backend.store([outcome("a")])
    assert results(alias).count() == 1
    backend.close()


@pytest.mark.parametrize(
    ("url", "message"), [("django-db://no", "DATABASES"), ("django-cache://no", "CACHES")]
)
def test_an_alias_that_is_not_there(url: str, message: str) -> None:
    set_up()
    with pytest.raises(ImproperlyConfigured, match=rf"{message} has no 'no', there are default"):
        make_backend(url, Settings())


def test_a_cache_that_keeps_nothing() -> None:
    set_up()
    from django.core.cache import caches

    caches.settings["dummy"] = {"BACKEND": "django.core.cache.backends.dummy.DummyCache"}
    with pytest.raises(ImproperlyConfigured, match="keeps nothing"):
        make_backend("django-cache://dummy", Settings())


def test_a_cache_that_is_away() -> None:
    url = "django-cache+redis://127.0.0.1:1/0"
    backend = make_backend(f"django-cache://{cache_alias(url)}", Settings())
    with pytest.raises(OperationalError, match="cannot be used"):
        backend.store([outcome("a")])


@pytest.mark.parametrize("size", [1, 2, 63, 64, 65, 130])
def test_chords_in_blocks(size: int) -> None:
    """A cache is asked for a block of members at a time; who comes again changes nothing."""
    backend = open_backend(f"django-cache+locmem://blocks-{size}")
    for n in reversed(range(1, size)):
        assert backend.add_parts([part(n, size)]) == []
        assert backend.add_parts([part(n, size)]) == []
    assert backend.add_parts([part(0, size)]) == [part(0, size)]
    assert backend.add_parts([part(size - 1, size)]) == [part(size - 1, size)]
    assert sorted(backend.chord_parts("g")) == list(range(size))
    backend.forget_parts("g")
    assert backend.chord_parts("g") == {}
    if size > 1:
        assert backend.add_parts([part(0, size)]) == []


def test_migrations_are_complete() -> None:
    set_up()
    from django.core.management import call_command

    said = io.StringIO()
    try:
        call_command("makemigrations", "taskq", check=True, dry_run=True, stdout=said)
    except SystemExit:
        pytest.fail(said.getvalue())
