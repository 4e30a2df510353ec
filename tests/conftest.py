"""Fixtures for every test: real servers, started once a run from the binaries of this machine."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import TypeVar

import pytest

from tests.parallel import (
    pytest_make_parametrize_id,
    pytest_xdist_auto_num_workers,
    pytest_xdist_make_scheduler,
)
from tests.servers import (
    MariaDBServer,
    MemcachedServer,
    MissingServerError,
    MongoDBServer,
    PostgreSQLServer,
    RabbitMQAddress,
    RedisCluster,
    RedisSentinel,
    RedisServer,
    S3Server,
    Server,
    VirtualHost,
    mariadb_server,
    memcached_server,
    mongodb_server,
    oldest_redis_binary,
    postgresql_server,
    redis_cluster,
    redis_sentinel,
    redis_server,
    s3_server,
    shared_rabbitmq,
    valkey_binary,
)

__all__ = [
    "pytest_make_parametrize_id",
    "pytest_xdist_auto_num_workers",
    "pytest_xdist_make_scheduler",
]

for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGHUP):
    # A run in a shell's background, or below nohup(1), ignores these, and so would whatever the
    # tests start; they send them.
    if signal.getsignal(number) is signal.SIG_IGN:
        is_int = number == signal.SIGINT
        signal.signal(number, signal.default_int_handler if is_int else signal.SIG_DFL)

S = TypeVar("S", bound=Server | RedisSentinel | RedisCluster | RabbitMQAddress)


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
def oldest_redis() -> Iterator[RedisServer]:
    """The oldest Redis that taskq works with; flush it before use."""
    yield from _started(_redis_of(oldest_redis_binary))


@pytest.fixture(scope="session")
def valkey() -> Iterator[RedisServer]:
    """A Valkey; flush it before use."""
    yield from _started(_redis_of(valkey_binary))


@contextlib.contextmanager
def _redis_of(binary: Callable[[], str]) -> Iterator[RedisServer]:
    with redis_server(binary=binary()) as server:
        yield server


@pytest.fixture(scope="session")
def sentinel() -> Iterator[RedisSentinel]:
    """A master with a replica and three sentinels; flush it before use."""
    yield from _started(redis_sentinel())


@pytest.fixture(scope="session")
def cluster() -> Iterator[RedisCluster]:
    """A cluster of three masters with a replica each; flush it before use."""
    yield from _started(redis_cluster())


@pytest.fixture(scope="session")
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that all processes of this run of pytest share, however many there are."""
    own = tmp_path_factory.getbasetemp()
    return own.parent if "PYTEST_XDIST_WORKER" in os.environ else own


@pytest.fixture(scope="session")
def rabbitmq_address(run_folder: Path) -> Iterator[RabbitMQAddress]:
    """One RabbitMQ for the whole run, in however many processes; take ``rabbitmq`` in tests."""
    yield from _started(shared_rabbitmq(run_folder))


@pytest.fixture
def rabbitmq(rabbitmq_address: RabbitMQAddress) -> Iterator[VirtualHost]:
    """An empty virtual host of a running RabbitMQ.

    Others use that server at the same time: a test that stops it starts one of its own.
    """
    with rabbitmq_address.virtual_host() as host:
        yield host


@pytest.fixture(scope="session")
def postgresql() -> Iterator[PostgreSQLServer]:
    """A running PostgreSQL for the whole run; a test takes ``postgresql_url``."""
    yield from _started(postgresql_server())


@pytest.fixture
def postgresql_url(postgresql: PostgreSQLServer) -> Iterator[str]:
    """An empty database of one's own in PostgreSQL."""
    with postgresql.new_database() as name:
        yield postgresql.url_of(name)


@pytest.fixture(scope="session")
def mariadb() -> Iterator[MariaDBServer]:
    """A running MariaDB for the whole run; a test takes ``mariadb_url``."""
    yield from _started(mariadb_server())


@pytest.fixture
def mariadb_url(mariadb: MariaDBServer) -> Iterator[str]:
    """An empty database of one's own in MariaDB."""
    with mariadb.new_database() as name:
        yield mariadb.url_of(name)


@pytest.fixture(scope="session")
def shared_memcached() -> Iterator[MemcachedServer]:
    """One memcached for the whole run; take ``memcached`` in tests."""
    yield from _started(memcached_server())


@pytest.fixture
def memcached(shared_memcached: MemcachedServer) -> MemcachedServer:
    """A running, empty memcached."""
    shared_memcached.call("flush_all")
    return shared_memcached


@pytest.fixture(scope="session")
def shared_s3() -> Iterator[S3Server]:
    """One S3 for the whole run; take ``s3`` in tests."""
    yield from _started(s3_server())


@pytest.fixture
def s3(shared_s3: S3Server) -> S3Server:
    """A running S3, with an empty bucket."""
    shared_s3.reset()
    return shared_s3


@pytest.fixture(scope="session")
def mongodb() -> Iterator[MongoDBServer]:
    """A running MongoDB for the whole run; use a database of the test's own.

    Where there is none its tests are skipped everywhere: no distribution has a package of it.
    """
    with ExitStack() as stack:
        try:
            server = stack.enter_context(mongodb_server())
        except MissingServerError as error:
            pytest.skip(str(error))
        yield server


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
