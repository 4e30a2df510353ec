"""The result stores that must keep the contract.  Adding one is one entry in `BACKENDS`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import pytest
from msgspec.structs import replace

from taskq import states
from taskq.backends.base import Backend, ChordPart, Outcome
from taskq.backends.registry import make_backend
from taskq.backends.rpc import RpcBackend
from taskq.message import TaskMessage
from taskq.settings import Settings
from taskq.stores.amqp.address import address
from taskq.stores.amqp.drivers import drivers
from tests.conformance.django_places import CACHE, DATABASE, cache_alias, database_alias
from tests.conformance.places import (
    amqp_url,
    cluster_url,
    django_postgresql_url,
    django_sqlite_url,
    mariadb_url,
    memcached_url,
    mongodb_url,
    mongomock_url,
    oldest_redis_url,
    one_slot_url,
    pika_url,
    postgresql_url,
    redis_url,
    s3_url,
    sentinel_url,
    tls_url,
    valkey_url,
)


@dataclass(frozen=True)
class BackendKind:
    """One result store, and what it can do.

    Attributes:
        name: shown in the names of tests.
        url: where it is; a URL asked for twice in a test names the same place.
        stop_polling: makes it look for news only when it is woken, if it polls.
        slow: another way to run a server that is tested already; tested with the slow tests.
        lists_chords: it lists chords that have not ended, keeps them beyond the life of results,
            and lets members join.
        many_processes: several processes can use it at a time, and it outlives them.
        lacks: what of the contract it cannot keep, in words of the marker ``needs``; the guide
            says so as well.
    """

    name: str
    url: Callable[[pytest.FixtureRequest], str]
    stop_polling: Callable[[pytest.MonkeyPatch], None] = lambda monkeypatch: None
    many_processes: bool = True
    lists_chords: bool = True
    slow: bool = False
    lacks: frozenset[str] = frozenset()

    def marks(self) -> list[pytest.MarkDecorator]:
        """How tests of it are marked."""
        return [pytest.mark.slow] * self.slow


def _sqlite_url(request: pytest.FixtureRequest) -> str:
    return f"sqlite:///{request.getfixturevalue('tmp_path')}/results.db"


def _stop_polling_sqlite(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("sqlite", "waiting"):
        for name in ("FIRST_POLL", "LAST_POLL"):
            monkeypatch.setattr(f"taskq.backends.{module}.{name}", 3600.0)


def _stop_polling_redis(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("FIRST_POLL", "LAST_POLL"):
        monkeypatch.setattr(f"taskq.backends.redis.backend.{name}", 3600.0)


def _stop_polling_postgresql(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("taskq.backends.sql.backend.NOTIFIED_POLLS", (3600.0, 3600.0))


def _rpc_url(request: pytest.FixtureRequest) -> str:
    return f"rpc+{amqp_url(request)}"


def _rpc_pika_url(request: pytest.FixtureRequest) -> str:
    return f"rpc+{pika_url(request)}"


def _stop_polling_rpc(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("taskq.backends.rpc.backend.RpcBackend.polls", (3600.0, 3600.0))


_RPC: Any = {
    "stop_polling": _stop_polling_rpc,
    "many_processes": False,
    "lists_chords": False,
    "lacks": frozenset({"chords", "groups", "a life after closing"}),
}


def _sql_file_url(request: pytest.FixtureRequest) -> str:
    return f"db+sqlite:///{request.getfixturevalue('tmp_path')}/results.db"


def _locmem_url(request: pytest.FixtureRequest) -> str:
    return f"{CACHE}locmem://{request.node.nodeid}"


def _redis_cache_url(request: pytest.FixtureRequest) -> str:
    return f"{CACHE}{redis_url(request)}"


BACKENDS = (
    BackendKind("sqlite", _sqlite_url, _stop_polling_sqlite),
    BackendKind("redis", redis_url, _stop_polling_redis),
    BackendKind("redis-6.2", oldest_redis_url, _stop_polling_redis, slow=True),
    BackendKind("valkey", valkey_url, _stop_polling_redis, slow=True),
    BackendKind("redis-tls", tls_url, _stop_polling_redis, slow=True),
    BackendKind("redis-sentinel", sentinel_url, _stop_polling_redis, slow=True),
    BackendKind("redis-cluster", cluster_url, _stop_polling_redis, slow=True),
    BackendKind("redis-cluster-slot", one_slot_url, _stop_polling_redis, slow=True),
    BackendKind("sql-postgresql", postgresql_url, _stop_polling_postgresql),
    BackendKind("sql-mariadb", mariadb_url),
    BackendKind("sql-sqlite", _sql_file_url),
    BackendKind("memcached", memcached_url, lists_chords=False),
    BackendKind(
        "files",
        lambda request: f"file://{request.getfixturevalue('tmp_path')}/results",
        lists_chords=False,
    ),
    BackendKind("mongodb", mongodb_url, slow=True),
    BackendKind("mongomock", mongomock_url, many_processes=False),
    BackendKind("s3", s3_url, slow=True, lists_chords=False),
    BackendKind("rpc", _rpc_url, **_RPC),
    BackendKind("rpc-pika", _rpc_pika_url, **_RPC),
    BackendKind("django-sqlite", django_sqlite_url),
    BackendKind("django-postgresql", django_postgresql_url),
    BackendKind("django-locmem", _locmem_url, many_processes=False, lists_chords=False, slow=True),
    BackendKind("django-redis", _redis_cache_url, lists_chords=False),
    BackendKind("memory", lambda request: "memory://", many_processes=False),
)


def params(feature: str = "name") -> list[Any]:
    """The parameters of a fixture or a test that wants each of them that has a feature."""
    return [
        pytest.param(kind, id=kind.name, marks=kind.marks())
        for kind in BACKENDS
        if getattr(kind, feature)
    ]


def having(feature: str) -> pytest.MarkDecorator:
    """Run a test with those stores alone that have a feature."""
    return pytest.mark.parametrize("kind", params(feature), indirect=True)


class _ToItself(RpcBackend):
    """Sends to itself what bears no address: a store's own process is its reader here."""

    def store(self, outcomes: Sequence[Outcome]) -> None:
        self.expect()
        super().store([replace(o, reply_to=self.reply_to) for o in outcomes])


def open_backend(url: str, expires: float | None = 86400.0) -> Backend:
    if url.startswith("rpc+"):
        where = address(url.removeprefix("rpc+"), Settings())
        return _ToItself(where, *drivers(where), expires=expires or 0.0)
    if url.startswith(DATABASE):
        url = f"django-db://{database_alias(url)}"
    elif url.startswith(CACHE):
        url = f"django-cache://{cache_alias(url)}"
    return make_backend(url, Settings({"result_expires": expires}))


def outcome(task_id: str, state: str = states.SUCCESS, payload: bytes = b"{}") -> Outcome:
    return Outcome(task_id, state, payload)


def part(index: int, size: int = 3, group: str = "g", payload: bytes | None = None) -> ChordPart:
    """What the member at that place contributes to a chord of that size."""
    done = TaskMessage({"id": f"{group}-done", "task": "done", "n": 0}, b"", routing_key="q")
    done.once = f"{group}:chord"
    return ChordPart(group, index, size, b"%d" % index if payload is None else payload, done)
