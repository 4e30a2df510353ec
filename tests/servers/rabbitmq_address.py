"""Where a RabbitMQ is reached, by whichever process started it; and virtual hosts in it."""

from __future__ import annotations

import base64
import contextlib
import http.client
import json
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from tests.servers.base import HOST, ServerError

LOGIN = "guest:guest"


@dataclass(frozen=True)
class RabbitMQAddress:
    """Where a RabbitMQ listens on this machine.

    Attributes:
        port: for AMQP clients.
        management_port: for the HTTP API of its management plugin.
    """

    port: int
    management_port: int

    def url(self, virtual_host: str = "/") -> str:
        """Where AMQP clients connect."""
        # "/" as "%2F" is the form that both kombu and pika read.
        return f"amqp://{LOGIN}@{HOST}:{self.port}/{quote(virtual_host, '')}"

    def api(self, method: str, path: str, body: object = None, timeout: float = 10.0) -> Any:
        """Call the HTTP API; return its answer, None when that is empty.

        What it tells about messages and connections may be five seconds old; a queue that is
        declared passively tells the truth.

        Args:
            method: "GET", "PUT", ...
            path: below ``/api``, quoted; for example ``/queues/%2F``.
            body: is sent as JSON.
            timeout: seconds.

        Raises:
            ServerError: the answer is an error.
            OSError: no answer in time.
        """
        connection = http.client.HTTPConnection(HOST, self.management_port, timeout=timeout)
        with contextlib.closing(connection):
            headers = {
                "Authorization": f"Basic {base64.b64encode(LOGIN.encode()).decode()}",
                "Content-Type": "application/json",
            }
            text = None if body is None else json.dumps(body)
            connection.request(method, f"/api{path}", text, headers)
            response = connection.getresponse()
            answer = response.read()
        if response.status >= 400:
            raise ServerError(f"{method} {path} gave {response.status}: {answer.decode()}")
        return json.loads(answer) if answer else None

    @contextlib.contextmanager
    def virtual_host(self) -> Iterator[VirtualHost]:
        """An empty virtual host until the end of the block; what is connected to it then is cut.

        That takes some thirty milliseconds, where a server takes three seconds.
        """
        host = VirtualHost(self, f"test-{secrets.token_hex(6)}")
        self.api("PUT", f"/vhosts/{host.name}", {})
        try:
            yield host
        finally:
            self.api("DELETE", f"/vhosts/{host.name}")


@dataclass(frozen=True)
class VirtualHost:
    """A part of a RabbitMQ that has queues, exchanges and connections of its own.

    Attributes:
        server: where the server is.
        name: of the virtual host.
    """

    server: RabbitMQAddress
    name: str

    @property
    def url(self) -> str:
        """Where AMQP clients connect."""
        return self.server.url(self.name)

    def queues(self) -> list[str]:
        """The names of its queues, sorted."""
        return sorted(queue["name"] for queue in self.server.api("GET", f"/queues/{self.name}"))
