"""What only the store in MongoDB promises, as far as mongomock can show it."""

from __future__ import annotations

from typing import Any

import pymongo.errors
import pytest

from taskq import states
from taskq.backends.mongodb import MongoBackend
from taskq.backends.registry import make_backend
from taskq.exceptions import BackendError, ImproperlyConfigured, OperationalError
from taskq.settings import Settings
from tests.conformance.backends import outcome
from tests.conformance.places import mocked_mongodb

DONE = b'{"status":"SUCCESS","result":[1],"traceback":null,"children":[],"task_id":"a"}'


def test_where_celery_keeps_results(monkeypatch: pytest.MonkeyPatch) -> None:
    client = mocked_mongodb(monkeypatch)
    backend = make_backend("mongodb://", Settings())
    backend.store([outcome("a", payload=DONE)])
    document = client["celery"]["celery_taskmeta"].find_one({"_id": "a"})
    assert (document["status"], document["result"]) == ("SUCCESS", "[1]")


def test_the_settings_of_celery(monkeypatch: pytest.MonkeyPatch) -> None:
    client = mocked_mongodb(monkeypatch)
    given: list[tuple[Any, dict[str, Any]]] = []

    def connect(url: str, **options: Any) -> Any:
        given.append((url, options))
        return client

    monkeypatch.setattr("pymongo.MongoClient", connect)
    backend = make_backend(
        "mongodb://db.internal:7/ignored",
        Settings(
            {
                "mongodb_backend_settings": {
                    "database": "d",
                    "taskmeta_collection": "results",
                    "user": "u",
                    "max_pool_size": 3,
                    "options": {"tls": True},
                },
                "broker_connection_timeout": 2,
            }
        ),
    )
    backend.store([outcome("a")])
    assert client["d"]["results"].count_documents({}) == 1
    assert given[0] == (
        "mongodb://db.internal:7/ignored",
        {
            "connect": False,
            "connectTimeoutMS": 2000,
            "serverSelectionTimeoutMS": 2000,
            "username": "u",
            "maxPoolSize": 3,
            "tls": True,
        },
    )


def test_an_outcome_that_somebody_else_inserts_just_before(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    client = mocked_mongodb(monkeypatch)
    backend = make_backend("mongodb://", Settings())
    backend.store([])
    tasks = client["celery"]["celery_taskmeta"]
    real, told = type(tasks).bulk_write, []

    def late(self: Any, writes: Any, **options: Any) -> Any:
        if not told:
            told.append(1)
            tasks.insert_one({"_id": "a", "status": states.STARTED, "date_done": None})
            details = {"writeErrors": [{"index": 0, "code": 11000}]}
            raise pymongo.errors.BulkWriteError(details)
        return real(self, writes, **options)

    monkeypatch.setattr(type(tasks), "bulk_write", late)
    backend.store([outcome("a")])
    assert backend.fetch(["a"]) == {"a": outcome("a")}


def test_a_server_that_is_away() -> None:
    backend = make_backend("mongodb://127.0.0.1:9/", Settings({"broker_connection_timeout": 0.1}))
    assert isinstance(backend, MongoBackend)
    with pytest.raises(OperationalError, match=r"MongoDB at mongodb://127\.0\.0\.1:9/"):
        backend.store([outcome("a")])
    backend.close()


def test_what_the_server_refuses(monkeypatch: pytest.MonkeyPatch) -> None:
    client = mocked_mongodb(monkeypatch)
    backend = make_backend("mongodb://", Settings())

    def refuse(*args: Any, **options: Any) -> None:
        raise pymongo.errors.OperationFailure("not authorized")

    monkeypatch.setattr(type(client["celery"]["x"]), "bulk_write", refuse)
    with pytest.raises(BackendError, match="refuses: not authorized"):
        backend.store([outcome("a")])


@pytest.mark.parametrize("url", ["mongodb://a:b:c/", "mongodb://h:port/", "mongodb://@:/"])
def test_urls_that_cannot_be_read(url: str) -> None:
    with pytest.raises(ImproperlyConfigured, match="result store mongodb://"):
        make_backend(url, Settings())
