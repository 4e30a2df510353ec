"""The schedule stores that must keep the contract.  Adding one is one entry in `STORES`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pytest

from taskq import TaskQ
from taskq.beat.stores import ScheduleStore, open_store
from tests.conformance.django_places import DATABASE, database_alias
from tests.conformance.places import (
    cluster_url,
    django_postgresql_url,
    django_sqlite_url,
    oldest_redis_url,
    one_slot_url,
    redis_url,
    sentinel_url,
    valkey_url,
)

SHORT = 1.0
"""Seconds that a message of the outbox is held: for tests that wait for the end of it."""


@dataclass(frozen=True)
class StoreKind:
    """One schedule store.

    Attributes:
        name: shown in the names of tests.
        store: where it is.
        broker: the broker's URL; by default the store's.
        sends: messages go into the broker's queues at once, and not by the outbox.
        slow: another way to run a server that is tested already; tested with the slow tests.
    """

    name: str
    store: Callable[[pytest.FixtureRequest], str]
    broker: str | None = None
    sends: bool = True
    slow: bool = False


def _sqlite_url(request: pytest.FixtureRequest) -> str:
    return f"sqlite:///{request.getfixturevalue('tmp_path')}/taskq.db"


STORES = [
    StoreKind("memory", lambda request: "memory", broker="memory://", sends=False),
    StoreKind("sqlite", _sqlite_url),
    StoreKind("sqlite-alone", _sqlite_url, broker="memory://", sends=False),
    StoreKind("redis", redis_url),
    StoreKind("redis-alone", redis_url, broker="memory://", sends=False),
    StoreKind("redis-6.2", oldest_redis_url, slow=True),
    StoreKind("valkey", valkey_url, slow=True),
    StoreKind("django-sqlite", django_sqlite_url, broker="memory://", sends=False),
    StoreKind("django-postgresql", django_postgresql_url, broker="memory://", sends=False),
    StoreKind("redis-sentinel", sentinel_url, slow=True),
    StoreKind("redis-cluster", cluster_url, sends=False, slow=True),
    StoreKind("redis-one-slot", one_slot_url, slow=True),
]


class Place:
    """A schedule store of one kind with its broker, as several beats see it.

    Attributes:
        app: with a task ``note``; its broker is the one that the store serves.
        store: one beat's view of the store.
    """

    def __init__(self, kind: StoreKind, request: pytest.FixtureRequest) -> None:
        self._url = kind.store(request)
        self._opened: list[ScheduleStore] = []
        self.app = self._app(kind.broker or self._url)
        self.store = self.another()

    def _app(self, broker: str) -> TaskQ:
        app = TaskQ("proj", broker=broker, beat_lease=SHORT, set_as_current=False)
        app.task(_note, name="note")
        return app

    def another(self, main: str = "proj") -> ScheduleStore:
        """The same store as another beat sees it, or a beat of another app."""
        named, self.app.main = self.app.main, main
        try:
            self._opened.append(self._open())
        finally:
            self.app.main = named
        return self._opened[-1]

    def _open(self) -> ScheduleStore:
        if not self._url.startswith(DATABASE):
            return open_store(self.app, self._url)
        alias = database_alias(self._url)
        from django.db import router

        class Router:
            def db_for_write(self, model: object, **hints: object) -> str:
                return alias

        named, router.routers = router.routers, [Router()]
        try:
            return open_store(self.app, "django")
        finally:
            router.routers = named

    def queued(self, queue: str = "default") -> list[str]:
        """The ids of what waits in a queue of the broker."""
        return [message.id for message in self.app.broker.browse(queue, 1000)]

    def close(self) -> None:
        for store in self._opened:
            store.close()
        self.app.close()


def _note(key: object = None) -> None:
    """A task that nobody runs."""


def params(choose: Callable[[StoreKind], bool] = lambda kind: True) -> list[object]:
    """The kinds as parameters of a fixture: all, or those that a test is about."""
    return [
        pytest.param(kind, id=kind.name, marks=[pytest.mark.slow] * kind.slow)
        for kind in STORES
        if choose(kind)
    ]
