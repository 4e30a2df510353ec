"""Where the brokers and result stores under test are: URLs of servers of the test run."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

import mongomock
import pytest

from tests.servers import (
    MemcachedServer,
    MongoDBServer,
    RedisCluster,
    RedisSentinel,
    RedisServer,
    S3Server,
    VirtualHost,
)
from tests.servers.base import HOST
from tests.servers.s3 import BUCKET


def redis_url(request: pytest.FixtureRequest) -> str:
    """A Redis."""
    server: RedisServer = request.getfixturevalue("redis")
    return server.url


def amqp_url(request: pytest.FixtureRequest) -> str:
    """A RabbitMQ, by py-amqp."""
    host: VirtualHost = request.getfixturevalue("rabbitmq")
    return host.url


def pika_url(request: pytest.FixtureRequest) -> str:
    """A RabbitMQ, by pika."""
    return amqp_url(request).replace("amqp://", "pika://", 1)


def tls_url(request: pytest.FixtureRequest) -> str:
    """A Redis by TLS, with user and password."""
    server: RedisServer = request.getfixturevalue("tls_redis")
    _flush_once(request, "tls", lambda: server.ask("FLUSHALL"))
    return f"{server.url}?ssl_ca_certs={quote(str(server.ca_file))}"


def oldest_redis_url(request: pytest.FixtureRequest) -> str:
    """The oldest Redis that taskq works with."""
    server: RedisServer = request.getfixturevalue("oldest_redis")
    _flush_once(request, "oldest_redis", lambda: server.ask("FLUSHALL"))
    return server.url


def valkey_url(request: pytest.FixtureRequest) -> str:
    """A Valkey."""
    server: RedisServer = request.getfixturevalue("valkey")
    _flush_once(request, "valkey", lambda: server.ask("FLUSHALL"))
    return server.url


def sentinel_url(request: pytest.FixtureRequest) -> str:
    """The master of a set of sentinels."""
    servers: RedisSentinel = request.getfixturevalue("sentinel")
    _flush_once(request, "sentinel", servers.flush)
    return servers.url


def cluster_url(request: pytest.FixtureRequest) -> str:
    """A cluster, each queue and result in a slot of its own."""
    servers: RedisCluster = request.getfixturevalue("cluster")
    _flush_once(request, "cluster", servers.flush)
    return servers.url


def one_slot_url(request: pytest.FixtureRequest) -> str:
    """A cluster, everything in one slot."""
    return f"{cluster_url(request)}?redis_cluster_tag=tests"


def postgresql_url(request: pytest.FixtureRequest) -> str:
    """A database in PostgreSQL."""
    return f"db+{request.getfixturevalue('postgresql_url')}"


def mariadb_url(request: pytest.FixtureRequest) -> str:
    """A database in MariaDB."""
    return f"db+{request.getfixturevalue('mariadb_url')}"


def django_postgresql_url(request: pytest.FixtureRequest) -> str:
    """A database of Django's in PostgreSQL."""
    return str(request.getfixturevalue("django_postgresql"))


def django_sqlite_url(request: pytest.FixtureRequest) -> str:
    """A database of Django's in a file."""
    return str(request.getfixturevalue("django_sqlite"))


def memcached_url(request: pytest.FixtureRequest) -> str:
    """A memcached."""
    server: MemcachedServer = request.getfixturevalue("shared_memcached")
    _flush_once(request, "memcached", lambda: server.call("flush_all"))
    return server.url


def s3_url(request: pytest.FixtureRequest) -> str:
    """A bucket in S3."""
    server: S3Server = request.getfixturevalue("shared_s3")
    _flush_once(request, "s3", server.reset)
    monkeypatch: pytest.MonkeyPatch = request.getfixturevalue("monkeypatch")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    return f"s3://{BUCKET}/base?endpoint_url={quote(server.url)}&region=us-east-1"


def mongodb_url(request: pytest.FixtureRequest) -> str:
    """A database of the test's own in MongoDB."""
    server: MongoDBServer = request.getfixturevalue("mongodb")
    name = hashlib.sha256(request.node.nodeid.encode()).hexdigest()[:16]
    return f"{server.url}test_{name}"


def mongomock_url(request: pytest.FixtureRequest) -> str:
    """A MongoDB that mongomock imitates in this process, for the time of a test."""
    if getattr(request.node, "mocked", None) is None:
        request.node.mocked = True
        mocked_mongodb(request.getfixturevalue("monkeypatch"))
    return "mongodb://localhost/results"


def mocked_mongodb(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Let clients of MongoDB be this one, which is returned."""
    client: Any = mongomock.MongoClient()
    monkeypatch.setattr("pymongo.MongoClient", lambda *args, **options: client)
    # It does not know an argument that newer versions of pymongo pass on to it.
    builder = "mongomock.collection.BulkOperationBuilder"
    for name in ("add_replace", "add_update"):
        method = getattr(mongomock.collection.BulkOperationBuilder, name)
        monkeypatch.setattr(f"{builder}.{name}", _without_sort(method))
    return client


def _without_sort(method: Callable[..., Any]) -> Callable[..., Any]:
    def called(*args: Any, sort: None = None, **options: Any) -> Any:
        return method(*args, **options)

    return called


def _flush_once(request: pytest.FixtureRequest, name: str, flush: object) -> None:
    """Empty a server when a test first asks for it, and not when it asks again."""
    assert callable(flush)
    if getattr(request.node, "flushed", None) != name:
        request.node.flushed = name
        flush()


def sqs_url(request: pytest.FixtureRequest) -> str:
    """Queues of SQS, as moto imitates it."""
    server: S3Server = request.getfixturevalue("shared_s3")
    _flush_once(request, "sqs", server.reset)
    return f"kombu+sqs://test:test@{HOST}:{server.port}"
