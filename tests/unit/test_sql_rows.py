"""An outcome taken apart into columns of Celery's table, and put together again."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from taskq import states
from taskq.backends.base import Outcome
from taskq.exceptions import BackendStoreError, DecodeError, ImproperlyConfigured
from taskq.result_codec import ResultCodec
from taskq.serialization import SerializerRegistry
from taskq.settings import Settings

pytest.importorskip("sqlalchemy")

from taskq.backends.sql.engine import engine_options, read_callback, read_url
from taskq.backends.sql.rows import join, split
from taskq.backends.sql.tables import Tables

COLUMNS = frozenset(Tables({}, {}).tasks.columns.keys())
OF_CELERY = COLUMNS - {"taskq", "name", "args", "kwargs", "worker", "retries", "queue", "stamps"}
NOW = datetime(2026, 1, 2, 3, 4, 5, 678)  # noqa: DTZ001 - the column has no time zone
REGISTRY = SerializerRegistry()


def codec(serializer: str = "json", **more: Any) -> ResultCodec:
    return ResultCodec(REGISTRY, serializer, REGISTRY.content_types([serializer]), **more)


def again(outcome: Outcome, columns: frozenset[str] = COLUMNS) -> Outcome:
    row = split(outcome, columns, NOW)
    assert set(row) == columns - {"id"}
    return join(row)


@pytest.mark.parametrize(
    "value", [1, None, "é\0", [1.5, {"a": []}], {"x": datetime(1, 1, 1, tzinfo=UTC)}]
)
@pytest.mark.parametrize("columns", [COLUMNS, OF_CELERY, OF_CELERY | {"taskq"}])
def test_a_value_comes_back(value: Any, columns: frozenset[str]) -> None:
    outcome = codec().encode("a", states.SUCCESS, value, headers={"group": "g", "parent_id": "p"})
    document = codec().decode(again(outcome, columns))
    assert document["result"] == value
    assert (document["status"], document["task_id"]) == (states.SUCCESS, "a")
    assert document["date_done"] == NOW.replace(tzinfo=UTC).isoformat()
    if "taskq" in columns:
        assert (document["group_id"], document["parent_id"]) == ("g", "p")


def test_the_columns_are_what_celery_reads() -> None:
    outcome = codec(extended=True).encode(
        "a",
        states.FAILURE,
        ValueError("no"),
        "Traceback…",
        name="proj.add",
        args=[1],
        kwargs={"y": 2},
        worker="w@h",
        retries=3,
        queue="q",
    )
    row = split(outcome, COLUMNS, NOW)
    assert row == {
        "task_id": "a",
        "status": "FAILURE",
        "result": msgspec.json.encode(msgspec.json.decode(outcome.payload)["result"]),
        "date_done": NOW,
        "traceback": "Traceback…",
        "children": None,
        "name": "proj.add",
        "args": b"[1]",
        "kwargs": b'{"y":2}',
        "worker": "w@h",
        "retries": 3,
        "queue": "q",
        "stamps": None,
        "taskq": None,
    }
    document = codec().decode(join(row))
    assert (document["args"], document["kwargs"], document["retries"]) == ([1], {"y": 2}, 3)
    assert document["traceback"] == "Traceback…"


def test_a_row_of_celery_is_read() -> None:
    row = {
        "task_id": "a", "status": "SUCCESS", "result": b'{"x": [1, 2]}', "date_done": NOW,
        "traceback": None, "children": b'[[["b", null], null]]',
    }  # fmt: skip
    document = codec().decode(join(row))
    assert document["result"] == {"x": [1, 2]}
    assert document["children"] == [[["b", None], None]]
    waiting = {**row, "status": None, "result": None, "children": None, "date_done": None}
    assert codec().decode(join(waiting))["status"] == states.PENDING


def test_a_pickle_of_an_old_celery_is_refused() -> None:
    row = {"task_id": "a", "status": "SUCCESS", "result": b"\x80\x04N.", "date_done": NOW}
    with pytest.raises(DecodeError, match="as Celery has stored them"):
        join(row)


@pytest.mark.parametrize(
    "payload",
    [
        b"", b"\x00\xff", b"{}", b"[]", b'{"status":"FAILURE","result":1}', b'{"result":1}',
        codec("msgpack").encode("a", states.SUCCESS, 1).payload,
        codec(compression="gzip").encode("a", states.SUCCESS, 1).payload,
    ],
    ids=range(8),  # the last two tell the time
)  # fmt: skip
def test_what_is_no_such_document_is_kept_whole(payload: bytes) -> None:
    outcome = Outcome("a", states.SUCCESS, payload)
    assert split(outcome, COLUMNS, NOW)["result"] is None
    assert again(outcome) == outcome
    with pytest.raises(BackendStoreError, match="no column 'taskq'"):
        split(outcome, OF_CELERY, NOW)


@pytest.mark.parametrize("name", ["n" * 156, "n\0", 7])
def test_what_does_not_fit_its_column_is_kept_beside(name: Any) -> None:
    outcome = codec(extended=True).encode("a", states.SUCCESS, 1, name=name, retries=1 << 40)
    row = split(outcome, COLUMNS, NOW)
    assert (row["name"], row["retries"]) == (None, None)
    document = codec().decode(join(row))
    assert (document["name"], document["retries"]) == (name, 1 << 40)


def test_ids_that_are_too_long_are_refused() -> None:
    with pytest.raises(BackendStoreError, match="155"):
        split(Outcome("x" * 156, states.SUCCESS, b""), COLUMNS, NOW)


# URLs and options


def test_the_url_is_sqlalchemys() -> None:
    url = read_url("db+postgresql+psycopg2://u:p@h:1/d?sslmode=require")
    assert (url.drivername, url.host) == ("postgresql+psycopg2", "h")
    assert url.query == {"sslmode": "require"}
    assert read_url("db+postgresql://h/d").drivername == "postgresql+psycopg"
    assert read_url("db+postgres://h/d").drivername == "postgresql+psycopg"
    assert read_url("db+mysql://h/d").drivername in {"mysql+mysqldb", "mysql+pymysql"}


@pytest.mark.parametrize("url", ["db+sqlite://", "db+sqlite:///:memory:", "db+what is this"])
def test_urls_without_a_place_are_refused(url: str) -> None:
    with pytest.raises(ImproperlyConfigured):
        read_url(url)


def test_engine_options() -> None:
    conf = Settings(
        {
            "database_engine_options": {"pool_size": 3, "connect_args": {"application_name": "x"}},
            "broker_connection_timeout": 7,
        }
    )
    assert engine_options(read_url("db+postgresql://h/d"), conf) == {
        "pool_recycle": 3600,
        "pool_size": 3,
        "connect_args": {"connect_timeout": 7, "application_name": "x"},
    }


def test_tables_have_the_names_of_the_settings() -> None:
    tables = Tables({"task": "tasks"}, {"task": "s", "group": "t"})
    assert (tables.tasks.fullname, tables.groups.fullname) == ("s.tasks", "t.celery_tasksetmeta")
    assert tables.parts.fullname == "s.taskq_chord_parts"
    with pytest.raises(ImproperlyConfigured, match="'tsak'"):
        Tables({"tsak": "x"}, {})


@pytest.mark.parametrize("given", [7, "no.such.module", "taskq.nothing", "nothing"])
def test_a_callback_that_is_none_is_refused(given: Any) -> None:
    with pytest.raises(ImproperlyConfigured, match="database_engine_callback"):
        read_callback(given)
