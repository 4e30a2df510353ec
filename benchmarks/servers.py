"""The servers of one run: each is started once, used by every trial, and stopped at the end."""

from __future__ import annotations

import subprocess
from collections.abc import Iterable
from contextlib import ExitStack
from types import TracebackType

from benchmarks import procfs
from tests.servers import RabbitMQServer, RedisServer, rabbitmq_server, redis_server


class Servers:
    """Private servers on free ports, of the kinds that the chosen subjects need.

    Args:
        kinds: Names out of `redis` and `rabbitmq`.
    """

    def __init__(self, kinds: Iterable[str]) -> None:
        self._kinds = frozenset(kinds)
        self._running = ExitStack()
        self._redis: RedisServer | None = None
        self._rabbitmq: RabbitMQServer | None = None

    def __enter__(self) -> Servers:
        if "redis" in self._kinds:
            self._redis = self._running.enter_context(redis_server())
        if "rabbitmq" in self._kinds:
            self._rabbitmq = self._running.enter_context(rabbitmq_server())
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._running.close()

    def urls(self) -> dict[str, str]:
        """Returns the values for `{redis}`, `{amqp}` and `{pika}` in a subject's URLs."""
        return {
            "redis": self._redis.url if self._redis else "",
            "amqp": self._rabbitmq.url if self._rabbitmq else "",
            "pika": self._rabbitmq.url.replace("amqp:", "pika:") if self._rabbitmq else "",
        }

    def empty(self) -> None:
        """Empties Redis, so that a trial starts as the first one did.

        RabbitMQ is not emptied: every trial has a queue of its own there.
        """
        if self._redis:
            # A million messages take longer to free than other commands do.
            self._redis.call("FLUSHALL", timeout=60.0)

    def cpu_seconds(self, kinds: Iterable[str]) -> float:
        """Returns the processor time that the servers of these kinds have taken so far."""
        running = {"redis": self._redis, "rabbitmq": self._rabbitmq}
        pids = [server.pid for kind in kinds if (server := running[kind])]
        return sum(procfs.cpu_seconds(procfs.tree(pid)) for pid in pids)

    def versions(self) -> dict[str, str]:
        """Returns the version of each running server."""
        found = {}
        if self._redis:
            info = self._redis.call("INFO", "server").decode()
            found["Redis"] = info.partition("redis_version:")[2].split()[0]
        if self._rabbitmq:
            command = ["rabbitmqctl", "version"]
            answer = subprocess.run(command, capture_output=True, text=True, check=True)
            found["RabbitMQ"] = answer.stdout.split()[-1]
        return found
