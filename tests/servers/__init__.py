"""Real servers for tests and benchmarks, started from the binaries of this machine.

    with redis_server() as redis:
        app = TaskQ(broker=redis.url)
        redis.restart()

Every server listens on the loopback address only, on ports of its own, keeps its files in a
private folder that is removed at the end, and leaves a server that is already running on this
machine alone. Only the standard library is used, so that any environment can import this; to make
certificates for TLS takes trustme.

Nothing outlives the process that started it: see ``guarded``. A server that is slow to start can be
shared by several processes: see ``shared``.
"""

from tests.servers.base import HOST, MissingServerError, Server, ServerError, free_ports
from tests.servers.browser import browser, chromedriver_binary, chromium_binary
from tests.servers.mariadb import MariaDBServer, mariadb_binary, mariadb_server
from tests.servers.memcached import MemcachedServer, memcached_binary, memcached_server
from tests.servers.mongodb import MongoDBServer, mongodb_server
from tests.servers.postgresql import PostgreSQLServer, postgresql_binary, postgresql_server
from tests.servers.rabbitmq import (
    RabbitMQServer,
    rabbitmq_binary,
    rabbitmq_server,
    shared_rabbitmq,
)
from tests.servers.rabbitmq_address import RabbitMQAddress, VirtualHost
from tests.servers.rabbitmq_cluster import RabbitMQCluster, rabbitmq_cluster
from tests.servers.redis import (
    RedisServer,
    oldest_redis_binary,
    redis_binary,
    redis_server,
    valkey_binary,
)
from tests.servers.redis_cluster import RedisCluster, redis_cluster
from tests.servers.redis_sentinel import RedisSentinel, redis_sentinel
from tests.servers.redis_set import RedisSet
from tests.servers.resp import ReplyError
from tests.servers.s3 import S3Server, s3_server

__all__ = [
    "HOST",
    "MariaDBServer",
    "MemcachedServer",
    "MissingServerError",
    "MongoDBServer",
    "PostgreSQLServer",
    "RabbitMQAddress",
    "RabbitMQCluster",
    "RabbitMQServer",
    "RedisCluster",
    "RedisSentinel",
    "RedisServer",
    "RedisSet",
    "ReplyError",
    "S3Server",
    "Server",
    "ServerError",
    "VirtualHost",
    "browser",
    "chromedriver_binary",
    "chromium_binary",
    "free_ports",
    "mariadb_binary",
    "mariadb_server",
    "memcached_binary",
    "memcached_server",
    "mongodb_server",
    "oldest_redis_binary",
    "postgresql_binary",
    "postgresql_server",
    "rabbitmq_binary",
    "rabbitmq_cluster",
    "rabbitmq_server",
    "redis_binary",
    "redis_cluster",
    "redis_sentinel",
    "redis_server",
    "s3_server",
    "shared_rabbitmq",
    "valkey_binary",
]
