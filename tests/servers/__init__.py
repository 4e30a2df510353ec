"""Real servers for tests and benchmarks, started from the binaries of this machine.

    with redis_server() as redis:
        app = TaskQ(broker=redis.url)
        redis.restart()

Every server listens on the loopback address only, on ports of its own, keeps its files in a
private folder that is removed at the end, and leaves a server that is already running on this
machine alone. Only the standard library is used, so that any environment can import this.

Nothing outlives the process that started it: see ``guarded``.
"""

from tests.servers.base import HOST, MissingServerError, Server, ServerError, free_ports
from tests.servers.rabbitmq import RabbitMQServer, rabbitmq_binary, rabbitmq_server
from tests.servers.redis import RedisServer, redis_binary, redis_server

__all__ = [
    "HOST",
    "MissingServerError",
    "RabbitMQServer",
    "RedisServer",
    "Server",
    "ServerError",
    "free_ports",
    "rabbitmq_binary",
    "rabbitmq_server",
    "redis_binary",
    "redis_server",
]
