"""Fixtures of the conformance suites: each test runs once for every entry of a table."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from taskq.brokers.base import Broker
from tests.conformance.backends import BackendKind
from tests.conformance.brokers import BrokerKind, Consumers, Site, params
from tests.conformance.django_places import (
    DATABASE,
    postgresql_template,
    sqlite_database,
    sqlite_template,
)
from tests.servers import PostgreSQLServer


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what a broker or a result store is known not to be able to do."""
    left_out = [item for item in items if _is_beyond(item)]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]


def _is_beyond(item: pytest.Item) -> bool:
    call = getattr(item, "callspec", None)
    kind = call.params.get("kind") if call is not None else None
    needs = {word for mark in item.iter_markers("needs") for word in mark.args}
    return isinstance(kind, BrokerKind | BackendKind) and bool(needs & kind.lacks)


@pytest.fixture(scope="session")
def django_sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return sqlite_template(tmp_path_factory.mktemp("django"))


@pytest.fixture
def django_sqlite(django_sqlite_template: Path, tmp_path: Path) -> str:
    """A database of Django's in a file, with taskq's tables."""
    return sqlite_database(django_sqlite_template, tmp_path)


@pytest.fixture(scope="session")
def django_postgresql_template(postgresql: PostgreSQLServer) -> Iterator[str]:
    with postgresql_template(postgresql) as name:
        yield name


@pytest.fixture
def django_postgresql(
    django_postgresql_template: str, postgresql: PostgreSQLServer
) -> Iterator[str]:
    """A database of Django's in PostgreSQL, with taskq's tables."""
    with postgresql.new_database(django_postgresql_template) as name:
        yield f"{DATABASE}{postgresql.url_of(name)}"


@pytest.fixture(params=params())
def kind(request: pytest.FixtureRequest) -> BrokerKind:
    """The broker under test."""
    chosen: BrokerKind = request.param
    return chosen


@pytest.fixture
def site(kind: BrokerKind, request: pytest.FixtureRequest) -> Iterator[Site]:
    """An empty broker of that kind, with the result store of the same URL."""
    site = Site(kind.url(request), kind.options)
    yield site
    site.close()


@pytest.fixture
def broker(site: Site) -> Broker:
    return site.broker


@pytest.fixture
async def consumer(site: Site) -> AsyncIterator[Consumers]:
    """Makes consumers: ``await consumer("q", lease=LONG)``."""
    consumers = Consumers(site)
    yield consumers
    await consumers.close_all()
