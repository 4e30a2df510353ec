"""Fixtures for every test: real servers, started once a run from the binaries of this machine."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack
from typing import TypeVar

import pytest

from tests.servers import (
    MissingServerError,
    RabbitMQServer,
    RedisCluster,
    RedisSentinel,
    RedisServer,
    Server,
    rabbitmq_server,
    redis_cluster,
    redis_sentinel,
    redis_server,
)

S = TypeVar("S", bound=Server | RedisSentinel | RedisCluster)


@pytest.fixture(scope="session")
def shared_redis() -> Iterator[RedisServer]:
    """One Redis for the whole run; take ``redis`` in tests."""
    yield from _started(redis_server())


@pytest.fixture
def redis(shared_redis: RedisServer) -> RedisServer:
    """A running, empty Redis. A test that stops or fills it starts one of its own."""
    shared_redis.call("FLUSHALL")
    return shared_redis


@pytest.fixture(scope="session")
def tls_redis() -> Iterator[RedisServer]:
    """A Redis that is reached by TLS alone, with user and password; flush it before use."""
    yield from _started(redis_server(transport="tls", user="proj", password="s3:cr/et"))


@pytest.fixture(scope="session")
def sentinel() -> Iterator[RedisSentinel]:
    """A master with a replica and three sentinels; flush it before use."""
    yield from _started(redis_sentinel())


@pytest.fixture(scope="session")
def cluster() -> Iterator[RedisCluster]:
    """A cluster of three masters with a replica each; flush it before use."""
    yield from _started(redis_cluster())


@pytest.fixture(scope="session")
def rabbitmq() -> Iterator[RabbitMQServer]:
    """A running RabbitMQ, shared by all tests: name queues and exchanges after the test."""
    yield from _started(rabbitmq_server())


def _started(server: AbstractContextManager[S]) -> Iterator[S]:
    """Start a server; without its binary, skip at home and fail where CI is set."""
    with ExitStack() as stack:
        try:
            started = stack.enter_context(server)
        except MissingServerError as error:
            if os.environ.get("CI"):
                pytest.fail(str(error), pytrace=False)
            pytest.skip(str(error))
        yield started
