"""Fixtures of the conformance suites: each test runs once for every entry of a table."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest

from taskq.brokers.base import Broker
from tests.conformance.brokers import BrokerKind, Consumers, Site, params


@pytest.fixture(params=params())
def kind(request: pytest.FixtureRequest) -> BrokerKind:
    """The broker under test."""
    chosen: BrokerKind = request.param
    return chosen


@pytest.fixture
def site(kind: BrokerKind, request: pytest.FixtureRequest) -> Iterator[Site]:
    """An empty broker of that kind, with the result store of the same URL."""
    site = Site(kind.url(request))
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
